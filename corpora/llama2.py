"""The only renderer of the Llama 2 chat format: prompt ids; ids with a loss mask; text.

Source: meta-llama/llama, `llama/generation.py`, `chat_completion`. Knows nothing of models or storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from corpora.dialog import Dialog, Example, Message, messages
from corpora.errors import DialogError, TagsInContent
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


def encode_prompt(dialog: Dialog, tokenizer: Tokenizer) -> list[int]:
    """Ids with which the model is asked for the next reply; the dialog ends with a user message.

    Raises DialogError for a wrong order of roles, TagsInContent for tags in a message.
    """
    turns = _turns(dialog)
    if not turns or turns[-1].reply is not None:
        raise DialogError("A prompt ends with a message of the user.")
    return _encode(turns, vocabulary(tokenizer)).ids


def encode_example(dialog: Dialog, tokenizer: Tokenizer) -> Example:
    """Ids of a whole dialog, and a mask that is True on kept replies and their EOS alone.

    Raises DialogError for a wrong order of roles, TagsInContent for tags in a message.
    """
    turns = _turns(dialog)
    if not turns or turns[-1].reply is None:
        raise DialogError("An example ends with a reply.")
    return _encode(turns, vocabulary(tokenizer))


def render(dialog: Dialog) -> str:
    """The text form, `<s>[INST] … [/INST] … </s>`, that the Llama 2 tutorials train on."""
    return "".join(
        f"{BOS}{turn.prompt}" + ("" if turn.reply is None else f" {turn.reply} {EOS}") for turn in _turns(dialog)
    )


def found_tags(text: str) -> list[str]:
    """The format's own tags that occur in a text, in the order of `TAGS`."""
    return [tag for tag in TAGS if tag in text]


def _encode(turns: Sequence[Turn], words: Vocabulary) -> Example:
    ids: list[int] = []
    trained: list[bool] = []
    for turn in turns:
        prompt = [words.bos_id, *words.encode(turn.prompt)]
        reply = [] if turn.reply is None else [*_reply_ids(turn.prompt, turn.reply, words), words.eos_id]
        ids += prompt + reply
        trained += [False] * len(prompt) + [turn.trained] * len(reply)
    return Example(ids, trained)


def _reply_ids(prompt: str, reply: str, words: Vocabulary) -> list[int]:
    """A reply encoded by itself, as no merge of the vocabulary crosses the blank before it.

    A reply that is empty or starts with the blank's own sign (U+2581) would lose that blank, so it is
    cut out of the whole.
    """
    if reply and not reply.startswith("\u2581"):
        return words.encode(f"{reply} ")
    return words.encode(f"{prompt} {reply} ")[len(words.encode(prompt)) :]


def _turns(dialog: Dialog) -> list[Turn]:
    system, rest = _split_system(messages(dialog))
    turns = [_turn(user, reply) for user, reply in _pairs(rest)]
    if system is None:
        return turns
    if not turns:
        raise DialogError("A system prompt needs a message of the user after it.")
    first = f"{B_SYS}{system.content}{E_SYS}{rest[0].content}"
    return [Turn(_instruction(first), turns[0].reply, turns[0].trained), *turns[1:]]


def _split_system(dialog: tuple[Message, ...]) -> tuple[Message | None, tuple[Message, ...]]:
    for said in dialog:
        _refuse_tags(said)
    if dialog and dialog[0].role == "system":
        return dialog[0], dialog[1:]
    return None, dialog


def _pairs(rest: tuple[Message, ...]) -> Iterator[tuple[Message, Message | None]]:
    for index, said in enumerate(rest):
        if said.role != ("user", "assistant")[index % 2]:
            raise DialogError("A dialog goes: an optional system prompt, then user and assistant in turn.")
    for index in range(0, len(rest), 2):
        yield rest[index], rest[index + 1] if index + 1 < len(rest) else None


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
