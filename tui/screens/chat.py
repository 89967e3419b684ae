"""The conversation: prompt, replies, verdicts."""

from __future__ import annotations

from typing import ClassVar

from tui.screens.mode import ModeScreen


class ChatScreen(ModeScreen):
    """Chat with the model; keep, correct or reject what it says."""

    MODE: ClassVar[str] = "chat"
