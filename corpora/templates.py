"""Models that are not Llama 2: their tokenizer's own chat template, or a plain form, behind the same functions.

Llama 2 is: no tokenizer of transformers' kind at all, a template with `[INST]` and `<<SYS>>` in it, or no
template and a vocabulary with `<s>`, `</s>` and byte fallback. The plain form, for a tokenizer without a
template, is

    {BOS}{system}

    ### User:
    {prompt}

    ### Assistant:
    {reply}{EOS}

with an empty line between exchanges. Trained are the kept replies and the special token after each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from corpora.dialog import Dialog, Example, Message, messages, turns
from corpora.errors import DialogError, TagsInContent
from corpora.tokens import Tokenizer

Render: TypeAlias = Callable[[list[dict[str, str]], bool], str]
USER, ASSISTANT = "### User:\n", "### Assistant:\n"


@dataclass(frozen=True, slots=True)
class Template:
    """Encodes dialogs in a form that renders as text.

    What chat sends is, by the way it is made, the beginning of what training sees: both encode the dialog
    turn by turn, and a turn never changes the ids before it.
    """

    render: Render
    backend: Any
    special: tuple[str, ...]

    def encode(self, dialog: Dialog, *, awaiting: bool) -> Example:
        """Ids and mask; `awaiting` asks for the next reply, else the dialog ends with one.

        Raises DialogError for a wrong order of roles or one that the template refuses, TagsInContent for
        special tokens in a message.
        """
        said = messages(dialog)
        _, pairs = turns(said)
        if not pairs or (pairs[-1][1] is None) is not awaiting:
            raise DialogError(f"{'A prompt' if awaiting else 'An example'} ends with a message of the other side.")
        for each in said:
            self._refuse_special(each)
        ids: list[int] = []
        trained: list[bool] = []
        before = ""
        for number, each in enumerate(said):
            if each.role != "assistant" and number + 1 < len(said) and said[number + 1].role != "assistant":
                continue
            text = self._text(said[: number + 1], awaiting=each.role == "user")
            new = self._ids_after(before, text, ids)
            ids += new
            trained += self._mask(new, each)
            before = text
        return Example(ids, trained)

    def ends(self) -> tuple[int, ...]:
        """Ids with which a reply ends in this form."""
        example = self.encode([Message("user", "a"), Message("assistant", "b")], awaiting=False)
        last = [token for token, trained in zip(example.ids, example.trained, strict=True) if trained][-1]
        return (last,) if self._is_special(last) else ()

    def _text(self, said: Sequence[Message], *, awaiting: bool) -> str:
        text = self.render([{"role": each.role, "content": each.content} for each in said], awaiting)
        if not text:
            raise DialogError("The model's chat template gives no text for this dialog.")
        return text

    def _ids_after(self, before: str, text: str, ids: list[int]) -> list[int]:
        """Ids of what a text adds to the one before it, encoded together where that keeps the ids before."""
        if not text.startswith(before):
            raise DialogError(
                "The model's chat template changes what was said before when a message is added.",
                remedy="Use a model with another template; replies could not be told from prompts.",
            )
        whole = self._ids(text)
        if whole[: len(ids)] == ids:
            return whole[len(ids) :]
        return self._ids(text[len(before) :])

    def _mask(self, new: list[int], said: Message) -> list[bool]:
        """For a kept reply: its ids to the first special one; what the template puts after that is not trained."""
        if said.role != "assistant" or not said.kept:
            return [False] * len(new)
        end = next((at for at, token in enumerate(new) if self._is_special(token)), len(new) - 1)
        return [at <= end for at in range(len(new))]

    def _ids(self, text: str) -> list[int]:
        return list(self.backend.encode(text, add_special_tokens=False).ids)

    def _is_special(self, token: int) -> bool:
        return self.backend.id_to_token(token) in self.special

    def _refuse_special(self, said: Message) -> None:
        found = [token for token in self.special if token in said.content]
        if found:
            raise TagsInContent(
                f"The {said.role} message holds {' and '.join(found)}, which this model reads as its own sign.",
                data="Nothing was sent or changed.",
                remedy="Remove it from the message.",
            )


def template_of(tokenizer: Tokenizer) -> Template | None:
    """The template of a tokenizer that is not Llama 2's, else None."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(tokenizer, "apply_chat_template"):
        return None
    template = getattr(tokenizer, "chat_template", None)
    if template:
        return None if "[INST]" in str(template) and "<<SYS>>" in str(template) else _own(tokenizer, backend)
    return None if _is_llama(backend) else _plain(tokenizer, backend)


def stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids besides EOS with which a reply of this tokenizer's form ends; none for Llama 2."""
    template = template_of(tokenizer)
    return () if template is None else template.ends()


def _is_llama(backend: Any) -> bool:
    ids = [backend.token_to_id(token) for token in ("<s>", "</s>", "<0x0A>")]
    return ids[:2] == [1, 2] and ids[2] is not None


def _own(tokenizer: Any, backend: Any) -> Template:
    def render(said: list[dict[str, str]], awaiting: bool) -> str:
        try:
            return str(tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=awaiting))
        except Exception as error:
            raise DialogError(
                f"The model's chat template refuses this dialog: {str(error)[:200]}.",
                data="Nothing was sent or changed.",
                remedy="Where it knows no system prompt, clear it.",
            ) from error

    return Template(render, backend, _special(tokenizer, backend))


def _plain(tokenizer: Any, backend: Any) -> Template:
    start, end = tokenizer.bos_token or "", tokenizer.eos_token or ""

    def render(said: list[dict[str, str]], awaiting: bool) -> str:
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

    return Template(render, backend, _special(tokenizer, backend))


def _special(tokenizer: Any, backend: Any) -> tuple[str, ...]:
    """All special tokens, those of the vocabulary and those that the tokenizer names."""
    added = backend.get_added_tokens_decoder().values()
    found = [*tokenizer.all_special_tokens, *(str(token.content) for token in added if token.special)]
    return tuple(dict.fromkeys(token for token in found if token))
