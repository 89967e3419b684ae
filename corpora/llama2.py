"""The only renderer of the Llama 2 chat format: prompt ids; ids with a loss mask; text.

Source: meta-llama/llama, `llama/generation.py`, `chat_completion`. A tokenizer of another family goes through
the same functions with its own chat template (corpora/templates.py). Knows nothing of models or storage.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from corpora.dialog import Dialog, Example, Message, messages, turns
from corpora.errors import DialogError, DialogTooLong, TagsInContent
from corpora.templates import template_of
from corpora.tokens import Tokenizer, Vocabulary, vocabulary

BOS, EOS = "<s>", "</s>"
B_INST, E_INST = "[INST]", "[/INST]"
B_SYS, E_SYS = "<<SYS>>\n", "\n<</SYS>>\n\n"
TAGS = (B_INST, E_INST, "<<SYS>>", "<</SYS>>")


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange as text: `[INST] … [/INST]`, the reply (None where it is awaited), trained or not."""

    prompt: str
    reply: str | None
    trained: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """Ids within a budget, how many of the oldest exchanges were dropped for it, and the loss mask, if any."""

    ids: list[int]
    dropped_exchanges: int
    trained: list[bool] = field(default_factory=list)


def encode_prompt(dialog: Dialog, tokenizer: Tokenizer) -> list[int]:
    """Ids with which the model is asked for the next reply; the dialog ends with a user message.

    Raises DialogError for a wrong order of roles, TagsInContent for tags in a message.
    """
    template = template_of(tokenizer)
    if template is not None:
        return template.encode(dialog, awaiting=True).ids
    asked = _turns(dialog)
    if not asked or asked[-1].reply is not None:
        raise DialogError("A prompt ends with a message of the user.")
    return _encode([asked], vocabulary(tokenizer))[0].ids


def encode_example(dialog: Dialog, tokenizer: Tokenizer) -> Example:
    """Ids of a whole dialog, and a mask that is True on kept replies and their EOS alone.

    Raises DialogError for a wrong order of roles, TagsInContent for tags in a message.
    """
    return encode_examples([dialog], tokenizer)[0]


def encode_examples(dialogs: Iterable[Dialog], tokenizer: Tokenizer) -> list[Example]:
    """`encode_example` of many dialogs, their texts given to the tokenizer in one batch."""
    template = template_of(tokenizer)
    if template is not None:
        return [template.encode(dialog, awaiting=False) for dialog in dialogs]
    return _encode([_whole(dialog) for dialog in dialogs], vocabulary(tokenizer))


def fit_prompt(dialog: Dialog, tokenizer: Tokenizer, budget: int) -> Fitted:
    """`encode_prompt` in at most `budget` ids: whole exchanges are dropped from the oldest, the system
    prompt stays. Raises DialogTooLong where the last prompt alone does not fit."""
    return fit(dialog, lambda kept: Example(encode_prompt(kept, tokenizer)), budget)


def fit_example(dialog: Dialog, tokenizer: Tokenizer, budget: int) -> Fitted:
    """`encode_example` in at most `budget` ids, as `fit_prompt`."""
    return fit(dialog, lambda kept: encode_example(kept, tokenizer), budget)


def fit(dialog: Dialog, encode: Callable[[Dialog], Example], budget: int) -> Fitted:
    """Drop the fewest exchanges from the front with which `encode` gives at most `budget` ids.

    Fewer exchanges never give more ids, so the number is found by halving.
    """
    said = messages(dialog)
    head = said[:1] if said and said[0].role == "system" else ()
    rest = said[len(head) :]
    most, dropped, example = (len(rest) - 1) // 2, 0, encode(said)
    if len(example.ids) > budget and most > 0:
        ends = range(1, most)
        dropped = 1 + bisect_left(ends, True, key=lambda n: len(encode([*head, *rest[2 * n :]]).ids) <= budget)
        example = encode([*head, *rest[2 * dropped :]])
    if len(example.ids) > budget:
        raise DialogTooLong(
            f"The last exchange alone takes {len(example.ids)} tokens, and {budget} are left for it.",
            data="Nothing was cut.",
            remedy="Shorten it or the system prompt, or choose a model with a longer context.",
        )
    return Fitted(example.ids, dropped, example.trained)


def render(dialog: Dialog) -> str:
    """The text form, `<s>[INST] … [/INST] … </s>`, that the Llama 2 tutorials train on."""
    return "".join(
        f"{BOS}{turn.prompt}" + ("" if turn.reply is None else f" {turn.reply} {EOS}") for turn in _turns(dialog)
    )


def found_tags(text: str) -> list[str]:
    """The format's own tags that occur in a text, in the order of `TAGS`."""
    return [tag for tag in TAGS if tag in text]


def _whole(dialog: Dialog) -> list[Turn]:
    said = _turns(dialog)
    if not said or said[-1].reply is None:
        raise DialogError("An example ends with a reply.")
    return said


def _encode(dialogs: Sequence[Sequence[Turn]], words: Vocabulary) -> list[Example]:
    """Prompts and replies of all dialogs in one batch, put together again in their order."""
    texts = [text for said in dialogs for turn in said for text in _segments(turn)]
    segments = iter(words.encode_batch(texts))
    return [_joined(said, segments, words) for said in dialogs]


def _segments(turn: Turn) -> tuple[str, ...]:
    if turn.reply is None:
        return (turn.prompt,)
    return (turn.prompt, f"{turn.reply} " if _stands_alone(turn.reply) else f"{turn.prompt} {turn.reply} ")


def _joined(said: Sequence[Turn], segments: Iterator[list[int]], words: Vocabulary) -> Example:
    ids: list[int] = []
    trained: list[bool] = []
    for turn in said:
        prompt = next(segments)
        ids.append(words.bos_id)
        ids += prompt
        trained += [False] * (len(prompt) + 1)
        if turn.reply is not None:
            reply = next(segments) if _stands_alone(turn.reply) else next(segments)[len(prompt) :]
            ids += reply
            ids.append(words.eos_id)
            trained += [turn.trained] * (len(reply) + 1)
    return Example(ids, trained)


def _stands_alone(reply: str) -> bool:
    """Whether a reply may be encoded by itself, as no merge of the vocabulary crosses the blank before it.

    A reply that is empty or starts with the blank's own sign (U+2581) would lose that blank, so it is
    cut out of the whole.
    """
    return bool(reply) and not reply.startswith("\u2581")


def _turns(dialog: Dialog) -> list[Turn]:
    said = messages(dialog)
    for each in said:
        _refuse_tags(each)
    system, pairs = turns(said)
    found = [_turn(user, reply) for user, reply in pairs]
    if system is None:
        return found
    first = f"{B_SYS}{system.content}{E_SYS}{pairs[0][0].content}"
    return [Turn(_instruction(first), found[0].reply, found[0].trained), *found[1:]]


def _turn(user: Message, reply: Message | None) -> Turn:
    if reply is None:
        return Turn(_instruction(user.content), None, False)
    return Turn(_instruction(user.content), reply.content.strip(), reply.kept)


def _instruction(content: str) -> str:
    return f"{B_INST} {content.strip()} {E_INST}"


def _refuse_tags(said: Message) -> None:
    tags = found_tags(said.content)
    if tags and not said.tags_allowed:
        raise TagsInContent(
            f"The {said.role} message holds {' and '.join(tags)}, which Llama 2 reads as the end or start of a turn.",
            data="Nothing was sent or changed.",
            remedy="Remove the tag, or allow it for this one message.",
        )
