"""bitsandbytes, imported in one place: it warns on import about a kernel that it does not need."""

from __future__ import annotations

import logging

logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)

import bitsandbytes as bnb  # noqa: E402
from bitsandbytes import functional as bnf  # noqa: E402

__all__ = ["bnb", "bnf"]
