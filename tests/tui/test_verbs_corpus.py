"""`corpus …`: files in and out, lists, figures, tokens, backup and verify."""

from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path

import pytest

from corpora.dialog import Status
from tests.tui.calling import FORBIDDEN, HOSTILE, Caller, start
from tests.tui.worlds import fill_corpus

ROWS = [{"instruction": f"question {n}", "input": "", "output": f"answer {n}"} for n in range(5)]


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_rows_come_in_once_and_bad_ones_are_listed(run: Caller, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", *ROWS, {"instruction": 5, "output": "x"}, "{broken")
    tried = run("corpus", "import", file, "--dry-run", "--json").document
    assert (tried["new"], tried["refused_rows"], tried["dry_run"]) == (5, 2, True)
    done = run("corpus", "import", file)
    assert done.code == 0 and "5 new" in done.out and "2 refused" in done.out
    assert f"{file}:6: " in done.err and f"{file}:7: " in done.err
    again = run("corpus", "import", file, "--json").document
    assert (again["new"], again["duplicates"]) == (0, 5)
    assert again["refused"][0]["line"] == 6 and again["refused"][0]["reason"]
    with run.store() as store:
        assert {each.status for each in store.page()} == {Status.KEPT}


def test_import_with_a_status_and_a_format(run: Caller, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", *ROWS)
    assert run("corpus", "import", file, "--status", "pending", "--format", "alpaca").code == 0
    with run.store() as store:
        assert {each.status for each in store.page()} == {Status.PENDING}
    assert run("corpus", "import", file, "--format", "nonsense").code == 2
    wrong = run("corpus", "import", tmp_path / "none.json")
    assert wrong.code == 1 and "none.json" in wrong.err
    assert run("corpus", "import", written(tmp_path / "b.txt", "hello", "you")).code == 1


@pytest.mark.parametrize("format", ["messages", "llama2", "alpaca", "sharegpt"])
def test_what_goes_out_comes_in_again(run: Caller, tmp_path: Path, format: str) -> None:
    run("corpus", "import", written(tmp_path / "rows.jsonl", *ROWS))
    out = tmp_path / "out.jsonl"
    found = run("corpus", "export", out, "--format", format, "--json").document
    assert (found["rows"], found["format"], found["left_out"]) == (5, format, [])
    again = run("--home", tmp_path / "other", "corpus", "import", out, "--json").document
    assert again["new"] == 5 and list(again["formats"].values()) == [format]


def test_export_to_stdout_and_over_a_file(run: Caller, tmp_path: Path) -> None:
    run("corpus", "import", written(tmp_path / "rows.jsonl", *ROWS))
    done = run("corpus", "export", "-")
    assert len(done.rows) == 5 and done.rows[0]["messages"][0]["role"] == "user"
    out = written(tmp_path / "there.jsonl", "precious")
    refused = run("corpus", "export", out)
    assert refused.code == 2 and out.read_text() == "precious\n" and "--force" in refused.err
    assert run("corpus", "export", out, "--force").code == 0 and len(out.read_text().splitlines()) == 5
    assert run("corpus", "export", tmp_path / "x", "--format", "dolly").code == 2


def test_a_list_filters(run: Caller) -> None:
    fill_corpus(run.paths, 16)
    page = run("corpus", "list", "--status", "kept", "--limit", "3", "--json").document
    assert page["total"] > 3 and len(page["exchanges"]) == 3
    assert {each["status"] for each in page["exchanges"]} == {"kept"}
    found = run("corpus", "list", "--search", "qlora", "--tag", "python", "--json").document
    assert 0 < found["total"] <= 5 and all("python" in each["tags"] for each in found["exchanges"])
    nothing = run("corpus", "list", "--search", "nowhere")
    assert nothing.code == 0 and "Nothing matches." in nothing.err


def test_one_query_language_for_the_screen_and_the_command_line(run: Caller, tmp_path: Path) -> None:
    fill_corpus(run.paths, 16)
    with run.store() as store:
        store.rate([1, 2], 5)
    listed = run("corpus", "list", "--filter", "tag:python rating:>=4", "--json").document
    assert sorted(each["id"] for each in listed["exchanges"]) == [1, 2]
    both = run("corpus", "list", "--filter", "rating:5", "--search", "qlora", "--status", "kept", "--json").document
    assert [each["id"] for each in both["exchanges"]] == [1]
    refused = run("corpus", "list", "--filter", "tags:python")
    assert refused.code == 2 and "Did you mean tag:?" in refused.err
    out = tmp_path / "out.jsonl"
    assert run("corpus", "export", out, "--filter", "rating:5", "--json").document["rows"] == 1
    assert run("corpus", "export", out, "--filter", "rating:5 status:kept,rejected", "--force").code == 0
    assert len(out.read_text().splitlines()) == 2
    everything = run("corpus", "check", "--json").document["findings"]
    some = run("corpus", "check", "--filter", "tag:python", "--json").document["findings"]
    assert {each["exchange_id"] for each in some} <= {1, 2, 3, 4, 5} and len(some) < len(everything)


def test_hostile_texts_are_shown_as_text(run: Caller) -> None:
    fill_corpus(run.paths, 6)
    for words in (("list",), ("list", "--json"), ("stats",), ("show", "5"), ("show", "5", "--json"), ("export", "-")):
        done = run("corpus", *words)
        shown = done.out if words[0] != "export" else ""
        assert done.code == 0 and not any(code in shown for code in FORBIDDEN)
    assert "[bold]red[/bold]" in run("corpus", "show", "5").out
    assert run("corpus", "show", "5", "--json").document["exchange"]["prompt"] == f"{HOSTILE} (4)"


def test_one_exchange_with_its_dialog(run: Caller) -> None:
    last = fill_corpus(run.paths, 6)[-1]
    out = run("corpus", "show", last).out
    assert out.index("My cat is called Mouse.") < out.index("And who is Mouse?") and "status      pending" in out
    found = run("corpus", "show", last, "--json").document
    assert [said["role"] for said in found["dialog"]] == ["user", "assistant"] * 3
    assert run("corpus", "show", "99999").code == 1 and run("corpus", "show", "x").code == 2


def test_the_exact_tokens_of_an_exchange(run: Caller, shared: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in (shared / "llama2-tokenizer").iterdir():
        (model / file.name).symlink_to(file)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    run("corpus", "import", written(tmp_path / "rows.jsonl", *ROWS))
    found = run("--model", model, "corpus", "show", "1", "--tokens", "--json").document
    assert found["ids"][0] == 1 and found["ids"][-1] == 2 and found["tokens"][0] == "<s>"
    assert len(found["ids"]) == len(found["trained"]) == len(found["tokens"])
    trained = "".join(word for word, yes in zip(found["tokens"], found["trained"], strict=True) if yes)
    assert trained == " answer 0 </s>"
    table = run("--model", model, "corpus", "show", "1", "--tokens")
    assert "trained" in table.out and "tokens," in table.err


def test_figures(run: Caller) -> None:
    fill_corpus(run.paths, 6)
    found = run("corpus", "stats", "--json").document
    assert found["exchanges"] == sum(found["by_status"].values()) and found["corrected"] == 1
    assert f"{found['by_status']['kept']}" in run("corpus", "stats").out


def test_a_check_lists_and_fixes(run: Caller, tmp_path: Path) -> None:
    rows = [*ROWS, {**ROWS[0], "instruction": "QUESTION 0"}, {"instruction": "a key", "output": HOSTILE}]
    run("corpus", "import", written(tmp_path / "rows.jsonl", *rows))
    found = run("--model", "demo", "corpus", "check", "--json").document
    kinds = set(found["counts"])
    assert found["exchanges"] == 7 and "control codes" in kinds and kinds & {"duplicate", "near duplicate"}
    listed = run("--model", "demo", "corpus", "check")
    assert listed.code == 0 and "--fix" in listed.err
    assert not any(code in listed.out + listed.err for code in FORBIDDEN)
    assert run("--model", "demo", "corpus", "check", "--fix", "--json").document["fixed"] >= 1
    assert "control codes" not in run("--model", "demo", "corpus", "check", "--json").document["counts"]
    assert run("--model", "demo", "corpus", "check", "--source", "elsewhere", "--json").document["findings"] == []


def test_backup_and_verify(run: Caller, tmp_path: Path) -> None:
    fill_corpus(run.paths, 5)
    copy = tmp_path / "copy.db"
    assert run("corpus", "backup", copy).code == 0 and copy.stat().st_size > 0
    assert run("corpus", "backup", copy).code == 1
    assert run("corpus", "backup", "--json").document["backup"].startswith(str(run.paths.backups))
    assert run("corpus", "verify").code == 0 and run("corpus", "verify", "--json").document == {"problems": []}


def test_a_damaged_corpus_says_the_way_out(run: Caller) -> None:
    fill_corpus(run.paths, 5)
    run.paths.corpus.write_bytes(b"this is no database" * 1000)
    done = run("corpus", "list")
    assert done.code == 1 and "Traceback" not in done.err and str(run.paths.corpus) in done.err
    assert len(done.err.splitlines()) > 1


def test_a_corpus_of_a_newer_version_is_read_and_said(run: Caller) -> None:
    fill_corpus(run.paths, 5)
    db = sqlite3.connect(run.paths.corpus)
    db.execute("PRAGMA user_version = 99")
    db.close()
    done = run("corpus", "list", "--json")
    assert done.code == 0 and done.document["total"] > 0
    assert "newer llama-tui" in done.err and "for reading only" in done.err
    assert run("corpus", "verify").code == 0


def test_ctrl_c_in_a_long_import_keeps_what_is_in(run: Caller, tmp_path: Path) -> None:
    rows = [{"instruction": f"question {n}", "output": f"answer {n}"} for n in range(60_000)]
    file = written(tmp_path / "rows.jsonl", *rows)
    with start("corpus", "import", str(file)) as process:
        assert process.stderr is not None
        assert "rows" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in err
    assert "What had come in stays" in err
    with run.store() as store:
        assert 0 < store.count() < 60_000
        assert store.verify() == []


def test_what_is_no_utf8_text_is_named_with_a_command_that_helps(run: Caller, tmp_path: Path) -> None:
    wide, binary = tmp_path / "my rows.jsonl", tmp_path / "x.jsonl"
    wide.write_text('{"prompt": "a", "response": "b"}\n', "utf-16")
    binary.write_bytes(b"\x7fELF\0\0\0\0")
    told = " ".join(run("corpus", "import", wide).err.split())
    assert f"iconv -f UTF-16 -t UTF-8 '{wide}' > 'my rows-utf8.jsonl'" in told
    assert "is no text" in run("corpus", "import", binary).err


def test_a_list_in_a_pipe_has_cells_of_bounded_width(run: Caller, tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps({"instruction": "long " * 90, "input": "", "output": "word " * 90}) + "\n")
    assert run("corpus", "import", file).code == 0
    assert all(len(line) <= 200 for line in run("corpus", "list").out.splitlines())
