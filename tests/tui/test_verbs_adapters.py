"""`adapters …` and `eval`."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from corpora.dataset import Row, snapshot_of, write_snapshot
from corpora.dialog import Message
from sessions.engine.fake import FakeEngine
from sessions.registry import Registry
from sessions.settings import load
from sessions.training.report import Answer, GateReport
from tests.tui.calling import FORBIDDEN, HOSTILE, Caller
from tests.tui.worlds import fill_adapters, peft_folder, publish, run_folder


def test_list_and_show(run: Caller) -> None:
    assert "no adapter yet" in run("adapters", "list").err
    assert run("adapters", "list", "--json").document == []
    fill_adapters(run.paths)
    found = {each["adapter"]: each for each in run("adapters", "list", "--json").document}
    assert [name for name, each in found.items() if each["current"]] == ["mine/v2", "persian/v1"]
    assert found["mine/v3"]["parent"] == "mine/v2"
    assert [found[f"mine/v{n}"]["gate"] for n in (1, 2, 3)] == ["passed", "passed", "failed"]
    assert found["persian/v1"]["gate"] == "not checked" and len(found["mine/v1"]["identity"]) == 64
    assert found["mine/v2"]["parent_identity"] == found["mine/v1"]["identity"] and found["mine/v2"]["accepted"]
    out = run("adapters", "list").out
    assert "└── mine/v3" in out or "└─ mine/v3" in out
    assert run("adapters", "show", "mine", "--json").document["version"] == 2
    shown = run("adapters", "show", "mine/v3").out
    assert "9 of 30 earlier replies were lost." in shown and "old: base 2.100" in shown
    assert "earlier reply lost: Who is Mouse?" in shown and "21 of 30 earlier replies kept" in shown


def test_use_rollback_rename_remove(run: Caller) -> None:
    fill_adapters(run.paths)
    registry = Registry(run.paths)
    refused = run("adapters", "use", "mine/v3")
    assert refused.code == 1 and "9 of 30 earlier replies were lost." in refused.err and "--force" in refused.err
    assert registry.current("mine") == "mine/v2"
    assert run("adapters", "use", "mine/v3", "--force").code == 0 and registry.current("mine") == "mine/v3"
    assert run("adapters", "rollback", "mine", "--json").document == {"adapter": "mine/v2"}
    refused = run("adapters", "remove", "mine/v2", "--yes")
    assert refused.code == 1 and "in use" in refused.err
    unasked = run("adapters", "remove", "mine/v3")
    assert unasked.code == 2 and "--yes" in unasked.err and registry.resolve("mine/v3")
    assert run("adapters", "remove", "mine/v3", "--yes").code == 0
    assert run("adapters", "rename", "mine", "ours").code == 0
    assert registry.names() == ["ours", "persian"] and load(run.paths.config).adapter == "ours"
    assert run("adapters", "use", "base").code == 0 and registry.current("ours") == "base"
    assert "did not check it" in run("adapters", "use", "persian/v1").out
    assert load(run.paths.config).adapter == "persian"
    assert run("adapters", "remove", "ours", "--yes").code == 0 and registry.names() == ["persian"]
    for words in (("use", "nobody"), ("rollback", "nobody"), ("remove", "nobody/v3"), ("show", "persian/v9")):
        done = run("adapters", *words)
        assert done.code == 1 and "persian" in done.err


def test_in_and_out(run: Caller, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "given")
    assert run("adapters", "import", folder).out.startswith("given/v1 is imported")
    assert run("adapters", "import", folder, "other", "--json").document == {"adapter": "other/v1"}
    assert run("adapters", "export", "other/v1", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
    assert run("adapters", "export", "other/v1", tmp_path / "given").code == 2
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    assert run("adapters", "import", folder).code == 1
    missing = run("adapters", "import", tmp_path / "none")
    assert missing.code == 1 and "There is no folder" in missing.err


def test_removal_is_asked_about_on_a_terminal(run: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_adapters(run.paths)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for answer, code in (("n\n", 130), ("", 130), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", Typed(answer))
        done = run("adapters", "remove", "mine/v3")
        assert done.code == code and "Remove mine/v3 for good? [y/N]" in done.err


def test_the_base_is_no_version(run: Caller, tmp_path: Path) -> None:
    fill_adapters(run.paths)
    for words in (("show", "base"), ("remove", "base"), ("export", "base", tmp_path / "out")):
        done = run("adapters", *words)
        assert done.code and "the model without an adapter" in done.err
    run("adapters", "rollback", "persian")
    done = run("adapters", "export", "persian", tmp_path / "out")
    assert done.code == 1 and "rolled back" in done.err and "persian/v1" in done.err


class Typed(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def test_damaged_versions_are_told_and_the_others_listed(run: Caller) -> None:
    fill_adapters(run.paths)
    (run.paths.adapter("mine", 1) / "adapter_model.safetensors").write_bytes(b"")
    done = run("adapters", "list")
    assert done.code == 0 and "mine/v2" in done.out and "cannot be used" in done.err


def test_hostile_notes_are_cleaned(run: Caller) -> None:
    answer = Answer(check="general", prompt=HOSTILE, expected=HOSTILE, reply=HOSTILE)
    publish(run.paths, note=HOSTILE, gate=GateReport(passed=False, reasons=(HOSTILE,), failed=(answer,)))
    for words in (("list",), ("show", "mine/v1"), ("show", "mine/v1", "--json"), ("use", "mine/v1")):
        done = run("adapters", *words)
        assert done.code == (words[0] == "use") and not any(code in done.out + done.err for code in FORBIDDEN)


# eval


def taught(run: Caller, count: int = 3) -> None:
    """Two versions, the second with a snapshot of what it learned."""
    first = publish(run.paths)
    folder = run_folder(run.paths, "r2")
    rows = tuple(
        Row(str(n), (Message("user", f"question {n}"), Message("assistant", f"answer {n}"))) for n in range(count)
    )
    write_snapshot(snapshot_of(rows), folder / "snapshot.jsonl")
    publish(run.paths, parent=first, run="r2")
    Registry(run.paths).use("mine/v2")


def test_eval_asks_base_parent_and_the_version(run: Caller, host: FakeEngine) -> None:
    taught(run)
    host.script = lambda request, adapter: (
        request.dialog[-1].content.replace("question", "answer") if adapter == "mine/v2" else "no idea"
    )
    found = run("eval", "mine", "--json", "--rows", "2").document
    assert [score["adapter"] for score in found["scores"]] == ["base", "mine/v1", "mine/v2"]
    assert [score["exact"] for score in found["scores"]] == [0, 0, 1] and found["rows"] == 2
    assert found["scores"][2]["likeness"] == 1 > found["scores"][0]["likeness"]
    assert host.requests[0].adapters == ("base", "mine/v1", "mine/v2") and host.requests[0].sampling.temperature == 0
    table = run("eval", "mine/v2")
    assert table.code == 0 and "100%" in table.out


def test_eval_needs_what_was_learned(run: Caller) -> None:
    publish(run.paths, run="")
    done = run("eval", "mine/v1")
    assert done.code == 2 and "compare" in done.err
    assert run("eval", "nobody").code == 1
