"""`models list` and `models get`: which models there are, and how one comes onto this disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sessions import models
from sessions.command import command, typed
from sessions.errors import LlamaTuiError, UsageError
from sessions.models.catalog import Listed, Machine, listing, machine
from tui.verbs.call import Call

COLUMNS = ("NAME", "SIZE", "LICENSE", "ACCESS", "DISK", "FITS")


def list_models(call: Call) -> int:
    """Print every known model, what fits this machine, and how to get one."""
    here = machine()
    found = listing(here)
    if call.output.json:
        call.output.document(found)
        return 0
    call.output.table(COLUMNS, [_cells(each) for each in found], right=("SIZE",))
    call.output.say()
    opened = models.default_model(call.workspace.settings)
    for line in (_fits(here), f"Without --model, {opened} opens.", "", *_how_to(found)):
        call.output.say(line)
    return 0


def _how_to(found: list[Listed]) -> Iterator[str]:
    """Yield the commands, each on a line of its own, so that a terminal does not break them."""
    shorts = ", ".join(each.short for each in found if each.short)
    yield "Download one:"
    yield f"  {command('models', 'get', 'NAME')}"
    yield "Open one:"
    yield f"  {command('--model', 'NAME')}"
    yield f"NAME may be short: {shorts}."
    yield "It may also be a folder with safetensors, a .gguf file of a Llama, or any OWNER/NAME of the hub."
    yield ""
    yield f"Gated models need permission; {models.OPEN_CHAT} has the same weights as 7b-chat and is open."
    yield f"  1. ask for access at https://huggingface.co/{models.LLAMA_2_CHAT} (approval takes hours to days)"
    yield f"  2. {typed('hf')} auth login"
    yield f"  3. {command('models', 'get', '7b-chat')}"


def _cells(each: Listed) -> tuple[str, ...]:
    return (each.name, size_text(each.size), each.license, each.access, "yes" if each.path else "-", each.fits)


def _fits(here: Machine) -> str:
    if here.gpu:
        return f"Fits: in the memory of this machine's GPU, {size_text(here.gpu)}, in 4 bit."
    return f"Fits: in this machine's memory, {size_text(here.main)}, in 4 bit; slow: there is no NVIDIA GPU."


def size_text(size: int) -> str:
    """Return a size as `93 MB` or `13.5 GB`."""
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def get(call: Call) -> int:
    """Download a model; with --optional a failed download is one line and exit code 0."""
    model = models.absolute(call.given.name)
    if Path(model).is_absolute():
        raise UsageError(f"{model:.200} is on this disk.", remedy=f"Open it: `{command('--model', model)}`.")
    before = models.located(model)
    try:
        found = before or models.resolve(model, lambda stage, share: _show(call, stage, share))
    except LlamaTuiError as error:
        if not call.given.optional:
            raise
        opened = models.default_model(call.workspace.settings)
        again = command("models", "get", model)
        call.output.note(f"{error.what.rstrip('.')}. {opened} opens instead; later: `{again}`", "yellow")
        return 0
    place = found.weights or found.folder
    if call.output.json:
        call.output.document({"name": model, "path": str(place), "downloaded": before is None})
    call.output.say(f"{model} is {'in' if before is None else 'already in'} {place}")
    call.output.say(f"Open it: `{command('--model', model)}`")
    return 0


def _show(call: Call, stage: str, share: float | None) -> None:
    call.output.progress(stage if share is None else f"{stage}: {share:.0%}")
