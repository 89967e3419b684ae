"""The one gate for text that is not ours: control codes become pictures, markup stays text.

Cleans when something is shown, never when it is stored. Knows nothing of screens.
"""

from __future__ import annotations

from rich.text import Text
from textual.content import Content

_BIDI = {
    0x202A: "LRE",
    0x202B: "RLE",
    0x202C: "PDF",
    0x202D: "LRO",
    0x202E: "RLO",
    0x2066: "LRI",
    0x2067: "RLI",
    0x2068: "FSI",
    0x2069: "PDI",
}
_PICTURES: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(0x20) if code not in (0x09, 0x0A)},
    0x7F: "\u2421",
    **{code: f"⟨{code:02X}⟩" for code in range(0x80, 0xA0)},
    **{code: f"⟨{name}⟩" for code, name in _BIDI.items()},
    # Line and paragraph separators are line ends; halves of surrogate pairs cannot be written at all.
    0x2028: "\n",
    0x2029: "\n",
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}
_SINGLE: dict[int, str] = {
    code: picture if len(picture) == 1 and picture != "\n" else "\ufffd" for code, picture in _PICTURES.items()
}


def clean(text: str) -> str:
    """The text with every control code shown as a picture; tab, line ends, ZWNJ and ZWJ stay.

    C0 and DEL become ␛-style pictures, C1 `⟨9B⟩`, explicit bidi marks `⟨RLO⟩`.
    """
    return text.replace("\r\n", "\n").translate(_PICTURES)


def pictured(text: str) -> str:
    """One line with every control code as one character, so that places stay the same (for editors)."""
    return text.translate(_SINGLE)


def line(text: str, limit: int = 0) -> str:
    """Clean text on one line, runs of blanks as one; cut to `limit` characters with an ellipsis."""
    joined = " ".join(clean(text[: 4 * limit] if limit else text).split())
    return f"{joined[: limit - 1]}…" if limit and len(joined) > limit else joined


class Stream:
    """Cleans text that comes in pieces: what the next piece could change is held back."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """The next piece, cleaned."""
        raw = self._held + piece
        # Half of a line end, or of a character outside the basic plane.
        self._held = raw[-1:] if raw[-1:] == "\r" or "\ud800" <= raw[-1:] <= "\udbff" else ""
        return clean(_joined(raw.removesuffix(self._held) if self._held else raw))

    def flush(self) -> str:
        """What was held back, at the end of the stream."""
        held, self._held = self._held, ""
        return clean(held)


def text(value: str, style: str = "") -> Content:
    """Text for widgets (Static, Label, Option): cleaned, never read as markup."""
    return Content.styled(clean(value), style) if style else Content(clean(value))


def cell(value: str, style: str = "", limit: int = 200) -> Text:
    """Text for one cell of a table, on one line: cleaned, never read as markup."""
    return Text(line(value, limit), style=style, no_wrap=True, end="")


def _joined(raw: str) -> str:
    if not any("\ud800" <= character <= "\udfff" for character in raw):
        return raw
    return raw.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
