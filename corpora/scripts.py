"""Which script a text is written in: the one of most of its letters. Knows nothing of languages."""

from __future__ import annotations

import re

SAMPLE = 600
_RANGES = {
    "latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff",
    "han": "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "kana": "\u3040-\u30ff",
    "hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "arabic": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc",
    "cyrillic": "\u0400-\u052f",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "hebrew": "\u0590-\u05ff",
    "devanagari": "\u0900-\u097f",
    "thai": "\u0e00-\u0e7f",
}
_LETTERS = {name: re.compile(f"[{letters}]") for name, letters in _RANGES.items()}
SCRIPTS = tuple(_RANGES)


def script_of(text: str) -> str:
    """One of `SCRIPTS`, or `""` for a text without letters of them. Looks at the first `SAMPLE` characters."""
    sample = text[:SAMPLE]
    if sample.isascii():
        return "latin" if _LETTERS["latin"].search(sample) else ""
    counts = {name: len(letters.findall(sample)) for name, letters in _LETTERS.items()}
    if counts["kana"] and counts["han"]:
        counts["kana"] += counts["han"]
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else ""
