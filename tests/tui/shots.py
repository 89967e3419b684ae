"""`python -m tests.tui.shots OUTDIR [NAME…]`: an SVG of each main screen, with a fake engine.

A state is a coroutine that takes a `Driven`; other screens add theirs to `STATES` in `tests/tui/states_*.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil
import tempfile
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

import tests.tui
from sessions.settings import Settings
from tests.tui.driving import Driven, driven
from tests.tui.states import STATES, engine

State = Callable[[Driven], Awaitable[None]]
SIZES = {"80x24": (80, 24), "120x40": (120, 40)}


def states() -> dict[str, State]:
    """All states by name, those of other screens among them."""
    found: dict[str, State] = dict(STATES)
    for module in pkgutil.iter_modules(tests.tui.__path__):
        if module.name.startswith("states_"):
            found |= importlib.import_module(f"tests.tui.{module.name}").STATES
    return found


async def shoot(name: str, state: State, size: str, theme: str, folder: Path) -> None:
    """One picture."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(theme=theme)
        async with driven(Path(home), engine(), size=SIZES[size], settings=settings) as it:
            await state(it)
            await it.pilot.pause(0.2)
            light = "" if theme == "textual-dark" else "-light"
            file = folder / f"{name}-{size}{light}.svg"
            file.write_text(it.app.export_screenshot(title="llama-tui"), encoding="utf-8")


async def shoot_all(folder: Path, names: list[str], sizes: list[str], themes: list[str]) -> None:
    """Every state in every size and theme."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in states().items():
        if not names or name in names:
            for size in sizes:
                for theme in themes:
                    await shoot(name, state, size, theme, folder)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--size", action="append", choices=SIZES)
    parser.add_argument("--theme", action="append")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    sizes, themes = given.size or list(SIZES), given.theme or ["textual-dark"]
    asyncio.run(shoot_all(given.folder, given.names, sizes, themes))


if __name__ == "__main__":
    main()
