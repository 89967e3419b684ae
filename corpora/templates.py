"""Models that are not Llama 2: their own chat template, or a plain form, behind the same functions.

Which form a model has is decided here (`template_of`) and nowhere else:

- with a chat template: Llama 2's form where the template is Llama 2's (`[INST]` and `<<SYS>>`), else the template;
- without one: Llama 2's form for a vocabulary of Llama's make (`<s>`, `</s>`, byte fallback), unless the
  model is a base model by its name (`Llama-2-7b-hf`) or of another architecture; these have the plain form:

    {BOS}{system}

    ### User:
    {prompt}

    ### Assistant:
    {reply}{EOS}

with an empty line between exchanges. Trained are the kept replies and the special token after each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias

from corpora.dialog import Dialog, Example, Message, messages, turns
from corpora.errors import DialogError, TagsInContent
from corpora.model_tokenizer import NAMED, ModelTokenizer
from corpora.tokens import FastVocabulary, Tokenizer

Said: TypeAlias = list[dict[str, str]]
Render: TypeAlias = Callable[[Said, bool], str]
USER, ASSISTANT = "### User:\n", "### Assistant:\n"
LLAMA_2, OWN, PLAIN = "Llama 2", "own chat template", "plain"
KEPT_TEXTS = 256
"""Parts of dialogs that are remembered, so that a turn renders and encodes what is new alone."""
OPEN, CLOSE = "\ue000", "\ue001"
"""Private letters around what is to be read as letters, while a template is applied."""
_BASE = re.compile(r"llama[-_]?(?:2[-_])?\d+b(?:[-_]hf)?", re.IGNORECASE)


class Template:
    """Encodes dialogs in a form that renders as text.

    What chat sends is, by the way it is made, the beginning of what training sees: the text is cut where
    each reply begins, and what comes after a cut never changes the ids before it.
    """

    def __init__(self, name: str, render: Render, backend: Any, named: Mapping[str, str]) -> None:
        self.name = name
        self._render = render
        added = list(backend.get_added_tokens_decoder().values())
        self.special = _distinct([*named.values(), *(str(token.content) for token in added if token.special)])
        marks = _distinct([*self.special, *(str(token.content) for token in added)])
        self._marks = frozenset(backend.token_to_id(mark) for mark in marks)
        self._names = {backend.token_to_id(token): token for token in self.special}
        self._mark = "|".join(map(re.escape, marks)) or r"(?!)"
        self._letters = re.compile(f"{OPEN}({'|'.join(map(re.escape, self.special)) or '(?!)'}){CLOSE}")
        self._words = FastVocabulary(backend, 0, 0)
        self._ids = lru_cache(KEPT_TEXTS)(self._encoded)
        self._taken = lru_cache(2)(self._takes)
        self._prompt = lru_cache(KEPT_TEXTS)(lambda said: self._text(said, awaiting=True))

    def encode(self, dialog: Dialog, *, awaiting: bool) -> Example:
        """Ids and mask; `awaiting` asks for the next reply, else the dialog ends with one.

        Raises DialogError for a wrong order of roles or one that the template refuses, TagsInContent for
        special tokens in a message.
        """
        said = tuple(self._checked(each) for each in messages(dialog))
        _, pairs = turns(said)
        if not pairs or (pairs[-1][1] is None) is not awaiting:
            raise DialogError(f"{'A prompt' if awaiting else 'An example'} ends with a message of the other side.")
        text, spans = self._laid_out(said, awaiting)
        example, start = Example(), 0
        for end, trained in spans:
            new = self._ids_after(text, start, end, example.ids)
            example.ids.extend(new)
            example.trained.extend([trained] * len(new))
            start = end
        return example

    def check(self, dialog: Dialog) -> None:
        """Raises DialogError where `encode` would, as far as that is seen without rendering the dialog."""
        said = tuple(self._checked(each) for each in messages(dialog))
        turns(said)
        self._taken([each.role for each in said[:3]] == ["system", "user", "assistant"])

    def _takes(self, system: bool) -> None:
        said = [Message("user", "a"), Message("assistant", "b")]
        self.encode([Message("system", "c"), *said] if system else said, awaiting=False)

    def ends(self) -> tuple[int, ...]:
        """Ids with which a reply ends in this form; none where it cannot be told."""
        try:
            example = self.encode([Message("user", "a"), Message("assistant", "b")], awaiting=False)
        except DialogError:
            return ()
        last = [token for token, trained in zip(example.ids, example.trained, strict=True) if trained][-1]
        return (last,) if last in self._marks else ()

    def _laid_out(self, said: Sequence[Message], awaiting: bool) -> tuple[str, list[tuple[int, bool]]]:
        """The text, and where its parts end: up to a reply, the reply with its end, up to the next …"""
        asked = [place for place, each in enumerate(said) if each.role == "user"]
        text = self._text(said, awaiting=awaiting)
        prompts = [self._prompt(tuple(said[: place + 1])) for place in asked]
        if not all(text.startswith(prompt) for prompt in prompts):
            # A template may tell the day, and what is remembered may be from another one.
            self._prompt.cache_clear()
            prompts = [self._prompt(tuple(said[: place + 1])) for place in asked]
        self._refuse_lost_system(said, prompts[0])
        if not all(text.startswith(prompt) for prompt in prompts):
            raise DialogError(
                "The model's chat template changes what was said before when a message is added.",
                remedy="Use a model with another template; replies could not be told from prompts.",
            )
        starts = [len(prompt) for prompt in prompts]
        spans = [(starts[0], False)]
        for place, start, after in zip(asked, starts, [*starts[1:], len(text)], strict=True):
            if place + 1 < len(said):
                end = start + self._reply_end(said[: place + 2], text[start:after], start)
                spans += [(end, said[place + 1].kept), (after, False)]
        return text, spans

    def _text(self, said: Sequence[Message], *, awaiting: bool) -> str:
        text = self._render([{"role": each.role, "content": each.content} for each in said], awaiting)
        if not text:
            raise DialogError("The model's chat template gives no text for this dialog.")
        return text

    def _reply_end(self, said: Sequence[Message], text: str, start: int) -> int:
        """Where the last reply and the special token after it end, in a text that goes on with the next prompt.

        `start` is where the text starts in the whole. What a template puts between the reply and that token is
        told by the dialog that ends with the reply.
        """
        reply = said[-1].content.strip()
        whole = re.search(re.escape(reply) + rf"\s*(?:{self._mark})", text)
        if whole and whole.start() == text.find(reply):
            return whole.end()
        alone = self._text(said, awaiting=False)[start:]
        if whole and alone.startswith(text[: whole.end()]):  # else the next prompt says the same as the reply
            return whole.end()
        after = alone.find(reply) + len(reply) if reply in alone else 0
        mark = re.compile(self._mark).search(alone, after)
        end = mark.end() if mark else len(alone)
        if not text.startswith(alone[:end]) or (reply and not end):
            raise DialogError(
                f"The model's chat template {'rewrites' if end else 'leaves out'} replies; "
                "they could not be told from prompts.",
                remedy="Use a model with another template.",
            )
        return end

    def _ids_after(self, text: str, start: int, end: int, ids: list[int]) -> list[int]:
        """Ids of a part of a text, encoded with what is before it where that keeps the ids before.

        A special token parts texts, so that what is before the last one need not be encoded again.
        """
        place, known = self._last_mark(text, start, ids)
        whole = self._ids(text[place:end])
        if whole[: len(ids) - known] == ids[known:]:
            return whole[len(ids) - known :]
        part: list[int] = self._ids(text[start:end])
        return part

    def _last_mark(self, text: str, end: int, ids: list[int]) -> tuple[int, int]:
        """Where the last special token before a place stands, in the text and in its ids; (0, 0) for none."""
        found = next((at for at in range(len(ids) - 1, -1, -1) if ids[at] in self._names), None)
        if found is None or CLOSE in text[:end]:
            return 0, 0
        return text.rindex(self._names[ids[found]], 0, end), found

    def _encoded(self, text: str) -> list[int]:
        """Ids of a text; special tokens that a message was allowed to hold are its letters."""
        ids: list[int] = []
        for place, part in enumerate(self._letters.split(text)):
            if place % 2:
                ids += self._words.encode(part)
            elif part:
                ids += self._words.encode_signs(part)
        return ids

    def _checked(self, said: Message) -> Message:
        """A message without special tokens; with them marked as letters, where the person allowed that."""
        found = [token for token in self.special if token in said.content]
        if not found:
            return said
        if said.tags_allowed:
            special = re.compile("|".join(map(re.escape, found)))
            return replace(said, content=special.sub(lambda token: f"{OPEN}{token[0]}{CLOSE}", said.content))
        raise TagsInContent(
            f"The {said.role} message holds {' and '.join(found)}, which this model reads as its own sign.",
            data="Nothing was sent or changed.",
            remedy="Remove it from the message.",
        )

    def _refuse_lost_system(self, said: Sequence[Message], prompt: str) -> None:
        """A system prompt that a template leaves out would be lost without a word."""
        if said[0].role != "system" or not said[0].content.strip():
            return
        try:
            lost = prompt == self._text(said[1:2], awaiting=True)
        except DialogError:  # a template that demands a system prompt does not leave it out
            return
        if lost:
            raise DialogError(
                "The model's chat template leaves the system prompt out.",
                data="Nothing was sent or changed.",
                remedy="Clear the system prompt (/system clear), or say it in the prompt.",
            )


def template_of(tokenizer: Tokenizer) -> Template | None:
    """The template of a model that is not asked in Llama 2's form, else None."""
    if isinstance(tokenizer, ModelTokenizer):
        return _of_model(tokenizer)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(tokenizer, "special_tokens_map"):
        return None
    found = tokenizer.chat_template
    template = found.get("default") if isinstance(found, dict) else found
    named = {key: str(text) for key, text in tokenizer.special_tokens_map.items() if key in NAMED}
    return _chosen(backend, named, template or "", _is_llama(backend))


def form_of(tokenizer: Tokenizer) -> str:
    """The name of a model's form, for people: `Llama 2`, `own chat template` or `plain`."""
    template = template_of(tokenizer)
    return LLAMA_2 if template is None else template.name


def stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids besides EOS with which a reply of this tokenizer's form ends; none for Llama 2."""
    template = template_of(tokenizer)
    return () if template is None else template.ends()


@lru_cache(maxsize=4)
def _of_model(tokenizer: ModelTokenizer) -> Template | None:
    is_base = _BASE.fullmatch(tokenizer.name.rpartition("/")[2]) is not None
    is_llama = tokenizer.kind in ("", "llama") and not is_base and _is_llama(tokenizer.backend)
    return _chosen(tokenizer.backend, tokenizer.named, tokenizer.chat_template, is_llama)


def _chosen(backend: Any, named: Mapping[str, str], template: str, is_llama: bool) -> Template | None:
    if template:
        is_llama_2 = "[INST]" in template and "<<SYS>>" in template
        return None if is_llama_2 else Template(OWN, _own(template, named), backend, named)
    if is_llama:
        return None
    usual = {"bos_token": "<s>", "eos_token": "</s>"}
    ends = {name: token for name, token in usual.items() if backend.token_to_id(token) is not None} | dict(named)
    return Template(PLAIN, _plain(ends), backend, ends)


def _is_llama(backend: Any) -> bool:
    ids = [backend.token_to_id(token) for token in ("<s>", "</s>", "<0x0A>")]
    return ids[:2] == [1, 2] and ids[2] is not None


def _own(template: str, named: Mapping[str, str]) -> Render:
    def render(said: Said, awaiting: bool) -> str:
        from corpora.sandbox import TemplateFails
        from corpora.sandbox import render as rendered

        try:
            return rendered(template, said, named, awaiting=awaiting)
        except TemplateFails as error:
            if said[0]["role"] != "system":
                raise _refused(str(error)) from error
            try:
                rendered(template, said[1:], named, awaiting=awaiting)
            except TemplateFails:
                raise _refused(str(error)) from error
            raise _no_system(str(error)) from error

    return render


def _refused(why: str) -> DialogError:
    return DialogError(
        f"The model's chat template refuses this dialog: {why}.",
        data="Nothing was sent or changed.",
        remedy="Start a new chat, or use another model.",
    )


def _no_system(why: str) -> DialogError:
    return DialogError(
        f"The model's chat template takes no system prompt: {why}.",
        data="Nothing was sent or changed.",
        remedy="Clear the system prompt (/system clear), or say it in the prompt.",
    )


def _plain(named: Mapping[str, str]) -> Render:
    start, end = named.get("bos_token", ""), named.get("eos_token", "")

    def render(said: Said, awaiting: bool) -> str:
        parts = [start]
        for number, each in enumerate(said):
            words, blank = each["content"].strip(), "" if number == 0 else "\n\n"
            if each["role"] == "system":
                parts.append(words)
            elif each["role"] == "user":
                parts.append(f"{blank}{USER}{words}")
            else:
                parts.append(f"\n\n{ASSISTANT}{words}{end}")
        return "".join(parts) + (f"\n\n{ASSISTANT}" if awaiting else "")

    return render


def _distinct(tokens: Sequence[str]) -> tuple[str, ...]:
    """Without blanks and repetitions, the longest first, as one may begin another."""
    return tuple(sorted({token for token in tokens if token.strip()}, key=lambda token: (-len(token), token)))
