"""The catalog of models: what is on disk, and what fits which machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sessions.models.catalog import CATALOG, GB, Known, Machine, fit, listing, machine
from sessions.models.names import DEMO, LLAMA_2, OPEN_CHAT, STARTER
from sessions.paths import Paths
from tests.models import put_into_hub_cache, put_starter, tiny_llama

pytestmark = pytest.mark.usefixtures("paths")
LAPTOP, SMALL_GPU, LARGE_GPU = Machine(0, 16 * GB), Machine(6 * GB, 64 * GB), Machine(80 * GB, 256 * GB)


def known(name: str) -> Known:
    return next(each for each in CATALOG if each.name == name)


def test_every_model_is_listed_with_size_license_and_access() -> None:
    rows = {row.name: row for row in listing(LAPTOP)}
    assert set(rows) == {STARTER, DEMO, OPEN_CHAT, *LLAMA_2.values()}
    assert all(row.size and row.memory and row.license and row.access for row in rows.values())
    assert {rows[name].access for name in LLAMA_2.values()} == {"gated"} and rows[OPEN_CHAT].access == "open"
    assert rows["meta-llama/Llama-2-13b-chat-hf"].short == "13b-chat"
    assert [name for name, row in rows.items() if row.path] == [DEMO]


def test_what_is_on_disk_has_its_path(paths: Paths, tmp_path: Path) -> None:
    file = put_starter(paths)
    snapshot = put_into_hub_cache(paths, OPEN_CHAT, tiny_llama(tmp_path / "model"))
    rows = {row.name: row for row in listing(LAPTOP)}
    assert rows[STARTER].path == str(file) and rows[OPEN_CHAT].path == str(snapshot)


def test_other_models_of_the_hubs_cache_are_listed_where_they_can_chat(paths: Paths, tmp_path: Path) -> None:
    snapshot = put_into_hub_cache(paths, "me/mine", tiny_llama(tmp_path / "model"))
    encoder = tiny_llama(tmp_path / "encoder")
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    put_into_hub_cache(paths, "me/encoder", encoder)
    damaged = tiny_llama(tmp_path / "damaged")
    (damaged / "config.json").write_text("[")
    put_into_hub_cache(paths, "me/damaged", damaged)
    (row,) = [row for row in listing(LAPTOP) if row.name.startswith("me/")]
    assert (row.name, row.path, row.fits) == ("me/mine", str(snapshot), "yes") and row.size > 0


@pytest.mark.parametrize(
    ("name", "here", "fits"),
    [
        (STARTER, LAPTOP, "yes"),
        (DEMO, Machine(0, GB // 2), "no"),
        (OPEN_CHAT, LAPTOP, "slow"),
        (OPEN_CHAT, SMALL_GPU, "chat only"),
        (OPEN_CHAT, LARGE_GPU, "yes"),
        (LLAMA_2["70b-chat"], SMALL_GPU, "no"),
        (LLAMA_2["70b-chat"], Machine(42 * GB, 0), "chat only"),
        (LLAMA_2["70b-chat"], LARGE_GPU, "yes"),
    ],
)
def test_fits(name: str, here: Machine, fits: str) -> None:
    assert fit(known(name), here) == fits


def test_this_machine_has_memory() -> None:
    assert machine().main > 0
