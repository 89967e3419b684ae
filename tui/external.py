"""A long text in the person's own editor, while the app steps aside."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from corpora.errors import UsageError


def command(configured: str) -> list[str]:
    """The editor's command: the setting, else $VISUAL, else $EDITOR. Raises UsageError where there is none."""
    chosen = configured or os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    if not chosen.strip():
        raise UsageError("No editor is set.", remedy="Set $EDITOR, or `editor` in the settings (F8).")
    return shlex.split(chosen)


def edit(app: App[Any], configured: str, text: str) -> str:
    """The text as it was left in the editor. Raises UsageError where the editor cannot run."""
    words = command(configured)
    descriptor, name = tempfile.mkstemp(suffix=".md", prefix="llama-tui-")
    file = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogatepass") as draft:
            draft.write(text)
        with app.suspend():
            code = subprocess.run([*words, name], check=False).returncode
        if code != 0:
            raise UsageError(f"{words[0]} ended with {code}.", data="The text is as it was.")
        return file.read_text("utf-8", errors="replace").removesuffix("\n")
    except SuspendNotSupported as error:
        raise UsageError("This terminal cannot step aside for an editor.", data="The text is as it was.") from error
    except OSError as error:
        raise UsageError(f"{words[0]} cannot be run: {error.strerror}.", data="The text is as it was.") from error
    finally:
        file.unlink(missing_ok=True)
