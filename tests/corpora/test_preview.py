"""What a model sees of a dialog, token by token, in forms other than Llama 2's."""

from __future__ import annotations

from pathlib import Path

from corpora.dialog import Message
from corpora.model_tokenizer import read_tokenizer
from corpora.preview import preview
from tests.corpora.chat_templates import CHATML
from tests.models import byte_level_tokenizer, tiny_tokenizer

DIALOG = [Message("user", "Grüße 👍"), Message("assistant", "The cat\nis called Mouse.")]


def test_special_tokens_have_their_names_and_letters_their_text(tmp_path: Path) -> None:
    tokenizer = read_tokenizer(byte_level_tokenizer(tmp_path, CHATML.template, special=CHATML.special))
    pieces = preview(DIALOG, tokenizer)
    assert [piece.text for piece in pieces if piece.special] == ["<|im_start|>", "<|im_end|>"] * 2
    trained = [piece.text for piece in pieces if piece.trained]
    assert "".join(trained) == "The cat\nis called Mouse.<|im_end|>" and trained[1] == " cat"
    assert [piece.text for piece in pieces if piece.text.startswith("<0x")] == [
        f"<0x{byte:02X}>" for byte in "üß👍".encode()
    ]


def test_bos_and_eos_are_seen_in_the_plain_form(tmp_path: Path) -> None:
    tokenizer = read_tokenizer(tiny_tokenizer(tmp_path / "Llama-2-7b-hf"))
    pieces = preview(DIALOG, tokenizer)
    assert (pieces[0].text, pieces[0].special, pieces[-1].text, pieces[-1].trained) == ("<s>", True, "</s>", True)
    assert sum(piece.special for piece in pieces) == 2
