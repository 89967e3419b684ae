"""A model's chat template, applied as transformers applies it, and held within bounds.

A template is a foreign program: it runs in Jinja's sandbox, for seconds and over megabytes at most. Imports
jinja2, so it is itself imported only where a template is at hand.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

SECONDS = 2.0
LARGEST = 4_000_000
"""Characters of any text that a template makes, and the largest number that it may pass on or multiply by."""
LONGEST_SOURCE = 400_000
MOST_VALUES = 100_000
"""Values in one list of lists of …, before it is told as text."""
FILE = "<template>"
GROWING = frozenset({"expandtabs", "format", "format_map", "indent", "join", "replace", "translate", "wordwrap"})
"""What may make, of two texts, one as long as their product, before it could be looked at."""
_WIDE = re.compile(r"\d{5,}")


class OutOfBounds(TemplateError):
    """A template takes longer, or makes more, than any chat needs."""


@lru_cache(maxsize=16)
def compiled(source: str) -> jinja2.Template:
    """The template of a source. Raises jinja2's TemplateError, and OutOfBounds for a source that is endless."""
    if len(source) > LONGEST_SOURCE:
        raise OutOfBounds("it is too long")
    try:
        return _environment().from_string(source)
    except (RecursionError, MemoryError) as error:
        raise OutOfBounds("it is nested too deeply") from error


class TemplateFails(Exception):
    """A template is a foreign program and may raise anything; `str` says what it was."""


def render(source: str, messages: Sequence[Mapping[str, str]], named: Mapping[str, str], *, awaiting: bool) -> str:
    """The text of a dialog; `named` are the special tokens, `awaiting` asks for the head of the next reply.

    Raises TemplateFails, whatever the template raised.
    """
    try:
        return _rendered(source, messages, named, awaiting)
    except Exception as error:
        raise TemplateFails(" ".join(str(error).split())[:200].rstrip(".") or type(error).__name__) from error


def _rendered(source: str, messages: Sequence[Mapping[str, str]], named: Mapping[str, str], awaiting: bool) -> str:
    template = compiled(source)
    with _timed():
        pieces = template.generate(
            {**named, "messages": [dict(each) for each in messages], "tools": None, "documents": None},
            add_generation_prompt=awaiting,
        )
        return _joined(pieces)


def _joined(pieces: Iterator[str]) -> str:
    found, size = [], 0
    for piece in pieces:
        size += len(piece)
        _check_size(size)
        found.append(piece)
    return "".join(found)


@contextmanager
def _timed() -> Iterator[None]:
    """Ends what goes on for too long: every line of a template and every call in it looks at the clock."""
    end, before = time.monotonic() + SECONDS, sys.gettrace()

    def line(frame: FrameType, event: str, _: Any) -> Any:
        if time.monotonic() > end:
            raise OutOfBounds("it does not come to an end")
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        line(frame, event, argument)
        return line if frame.f_code.co_filename == FILE else None

    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise OutOfBounds("its text has no end")


def _checked(value: Any) -> Any:
    """What came out of an operation, if it is of a size that a chat may have."""
    if isinstance(value, (str, list, tuple)):
        _check_size(len(value))
    return value


def _check_given(values: Sequence[Any]) -> None:
    """Numbers, which may be widths, and nested lists, which may be small and tell endless texts."""
    waiting, seen = list(values), 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or (isinstance(value, int) and abs(value) > LARGEST):
            raise OutOfBounds("it passes on what no chat needs")
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value


def _check_growth(values: Sequence[Any]) -> None:
    """What one of the `GROWING` is given: the two largest together make at most some megabytes."""
    small, large = sorted((0, 0, *map(_size, values)))[-2:]
    if large > LARGEST or small * large > 25 * LARGEST:
        raise OutOfBounds("it makes much of little")


def _size(value: Any) -> int:
    """Letters of a text, of all texts in a list, or of the longest in a mapping; a number is itself."""
    if isinstance(value, dict):
        return max(map(_size, value.values()), default=0)
    if isinstance(value, (list, tuple)):
        return len(value) + sum(len(each) for each in value if isinstance(each, str))
    return len(value) if isinstance(value, str) else abs(value) if isinstance(value, int) else 0


def _check_form(form: Any) -> None:
    """`{:9999999}` and `%9999999d` make huge texts of nothing."""
    if isinstance(form, str) and _WIDE.search(form):
        raise OutOfBounds("it asks for a width that no chat needs")


def _told(value: Any) -> Any:
    """A value that is about to become text."""
    if not isinstance(value, str):
        _check_given((value,))
    return value


def _bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is given and gives nothing huge."""

    @functools.wraps(function)
    def call(*values: Any, **named: Any) -> Any:
        _check_given((*values, *named.values()))
        if name in GROWING:
            _check_growth((*values, *named.values()))
        return _checked(function(*values, **named))

    return call


class _Generator(CodeGenerator):
    """Joins texts (`a ~ b`) through the environment, which looks at their size."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Write `environment.joined((a, b, ))`."""
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with sizes looked at where they can grow."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Raises OutOfBounds where the result would be huge."""
        sized = [len(value) for value in (left, right) if isinstance(value, (str, list, tuple))]
        numbers = [abs(value) for value in (left, right) if isinstance(value, int)]
        if sized and numbers and operator == "*":
            _check_size(sized[0] * numbers[0])
        if operator == "**" and len(numbers) == 2:
            _check_size(numbers[0].bit_length() * numbers[1] * 1000)
        if operator == "%" and isinstance(left, str):
            _check_form(left)
            _check_growth((left, right))
        _check_given(numbers)
        return _checked(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call that is given and gives nothing huge."""
        _check_given((*args, *kwargs.values()))
        name, text = getattr(__obj, "__name__", ""), getattr(getattr(__obj, "__wrapped__", __obj), "__self__", "")
        if name in GROWING and isinstance(text, str):
            _check_growth((text, *args, *kwargs.values()))
        if name in ("format", "format_map"):
            _check_form(text)
        return _checked(super().call(__context, __obj, *args, **kwargs))

    def joined(self, parts: Sequence[Any]) -> str:
        """`a ~ b`."""
        return str(_checked("".join(str(_told(part)) for part in parts)))


class _Generation(Extension):
    """`{% generation %}` … `{% endgeneration %}` marks what a model writes; the text is that between."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        """A block that gives its own text."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    def _written(self, caller: Macro) -> str:
        return str(caller())


class _Dict:
    """`dict` without its attributes."""

    def __call__(self, *values: Any, **named: Any) -> dict[Any, Any]:
        return dict(*values, **named)


class _Namespace(Namespace):
    """`namespace` without names that start with an underscore."""

    def __init__(*values: Any, **named: Any) -> None:
        found = dict(*values[1:], **named)
        for name in found:
            _check_name(name)
        Namespace.__init__(values[0], found)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"{name!r} cannot be a name in a namespace")


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Jinja's own escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _format(form: str, *values: Any, **named: Any) -> str:
    _check_form(form)
    return str(form) % (named or values)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


@functools.cache
def _environment() -> _Environment:
    made = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], finalize=_told)
    made.filters |= {"tojson": _json, "format": _format}
    made.filters = {name: _bounded(name, found) for name, found in made.filters.items()}
    made.globals |= {"raise_exception": _refuse, "strftime_now": _now, "dict": _Dict(), "namespace": _Namespace}
    return made
