"""The demo model: a tiny Llama that ships, and where it lies. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

MODEL_DIR: Path = Path(__file__).parent / "model"
"""Folder of the shipped model, as `from_pretrained` takes it."""
