"""Files in and out: every format, real data, equal on the way back; refusals with line and reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from corpora import formats
from corpora.dialog import Message, Status
from corpora.errors import CorpusError, ImportRefused, TagsInContent, UsageError
from corpora.store import Filter, Store
from corpora.transfer import export_file, import_files

SAY = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "messages": [
        {"messages": [{"role": "system", "content": "S"}, SAY, ANSWER | {"weight": 0}, SAY, ANSWER]},
        {"messages": [SAY, {"role": "assistant", "content": " 👍\u200c\n"}]},
    ],
    "llama2": [
        {"text": "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nq [/INST] a </s><s>[INST] p [/INST] b </s>"},
        {"text": "<s>[INST] ¿Qué? [/INST] Sí. </s>"},
    ],
    "alpaca": [
        {"instruction": "Add.\n\nNow.", "input": "1\n\n2", "output": "3"},
        {"instruction": "Say hi.", "input": "", "output": "hi"},
        {"instruction": "c", "input": "", "output": "d", "system": "S", "history": [["a", "b"]]},
    ],
    "sharegpt": [
        {
            "conversations": [
                {"from": "system", "value": "S"},
                {"from": "human", "value": "q"},
                {"from": "gpt", "value": "a"},
            ]
        }
    ],
    "preference": [
        {
            "prompt": [{"role": "system", "content": "S"}, SAY],
            "chosen": [ANSWER],
            "rejected": [ANSWER | {"content": "b"}],
        }
    ],
    "thumbs": [
        {"prompt": [SAY], "completion": [ANSWER], "label": True},
        {"prompt": [SAY | {"content": "q2"}], "completion": [ANSWER], "label": False},
    ],
}


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read_rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def said(store: Store) -> list[tuple[str | None, str, str, Status]]:
    return [(each.system, each.prompt, each.reply, each.status) for each in store.page(order="oldest")]


@pytest.mark.parametrize("name", list(ROWS))
def test_what_goes_in_comes_out_equal(name: str, store: Store, tmp_path: Path) -> None:
    path = lines(tmp_path / "in.jsonl", ROWS[name])
    assert formats.detect(path) == name
    report = import_files(store, [path])
    assert (report.new + report.preferences, report.refused) == (len(ROWS[name]), ())
    assert export_file(store, tmp_path / "out.jsonl", name) == len(ROWS[name])
    assert read_rows(tmp_path / "out.jsonl") == ROWS[name]
    again = import_files(store, [path, tmp_path / "out.jsonl"])
    assert (again.new + again.preferences, again.duplicates) == (0, 2 * len(ROWS[name]))


@pytest.mark.parametrize("name", formats.WRITABLE)
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".jsonl.gz", ".json.gz"])
def test_what_was_exported_is_read_again(name: str, suffix: str, store: Store, tmp_path: Path) -> None:
    for number, rows in enumerate(ROWS.values()):
        import_files(store, [lines(tmp_path / f"{number}.jsonl", rows)])
    path = tmp_path / ("out.parquet" if name == "parquet" else f"out{suffix}")
    count = export_file(store, path, name)
    assert count > 0
    with Store(tmp_path / "second.db") as second:
        report = import_files(second, [path])
        assert report.refused == ()
        assert report.new + report.preferences == count
        export_file(second, tmp_path / f"again{path.name}", name)
    assert (tmp_path / f"again{path.name}").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("file", "count"), [("alpaca_en_demo.json", 999), ("alpaca_zh_400.json", 400)])
def test_real_alpaca_files_come_back_equal(file: str, count: int, shared: Path, store: Store, tmp_path: Path) -> None:
    path = shared / "data" / file
    report = import_files(store, [path])
    assert (report.new, report.refused) == (count, ())
    assert store.count(Filter(statuses=(Status.KEPT,))) == count
    assert export_file(store, tmp_path / "out.json", "alpaca") == count
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(path.read_text())
    assert import_files(store, [path, tmp_path / "out.json"]).new == 0
    for name in ("messages", "llama2", "sharegpt", "parquet"):
        target = tmp_path / f"out.{name}"
        assert export_file(store, target, name) == count
        with Store(tmp_path / f"{name}.db") as other:
            assert import_files(other, [target], format=name).new == count


def test_real_preference_pairs_all_come_in(shared: Path, store: Store, tmp_path: Path) -> None:
    path = shared / "data" / "dpo_en_demo.json"
    assert import_files(store, [path]).preferences == 300
    assert import_files(store, [path]).duplicates == 300
    assert export_file(store, tmp_path / "dpo.jsonl", "preference") == 300
    rows, original = read_rows(tmp_path / "dpo.jsonl"), json.loads(path.read_text())
    assert [row["chosen"][0]["content"] for row in rows] == [row["chosen"]["value"] for row in original]
    assert [[m["content"] for m in row["prompt"]] for row in rows] == [
        [m["value"] for m in row["conversations"]] for row in original
    ]


OTHERS = {
    "guanaco": ({"text": "### Human: hi### Assistant: yo\nyo### Human: and?"}, [(None, "hi", "yo\nyo", Status.KEPT)]),
    "dolly": (
        {"instruction": "i", "context": "c", "response": "r", "category": "qa"},
        [(None, "i\n\nc", "r", Status.KEPT)],
    ),
    "squad": (
        {"question": "q?", "context": "c", "answers": {"text": ["a", "b"], "answer_start": [0, 1]}},
        [(None, "c\n\nq?", "a", Status.KEPT)],
    ),
    "chatgpt": (
        {
            "title": "t",
            "current_node": "d",
            "mapping": {
                "a": {"message": None, "parent": None, "children": ["b"]},
                "b": {
                    "message": {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["q"]}},
                    "parent": "a",
                },
                "c": {"message": {"author": {"role": "tool"}, "content": {"parts": ["x"]}}, "parent": "b"},
                "d": {
                    "message": {"author": {"role": "assistant"}, "content": {"parts": ["r", {"asset": 1}]}},
                    "parent": "c",
                },
                "e": {"message": {"author": {"role": "assistant"}, "content": {"parts": ["other"]}}, "parent": "b"},
            },
        },
        [(None, "q", "r", Status.KEPT)],
    ),
    "messages": ({"prompt": "q", "completion": "a"}, [(None, "q", "a", Status.KEPT)]),
    "thumbs": ({"prompt": "q", "completion": "a", "label": False}, [(None, "q", "a", Status.REJECTED)]),
    "sharegpt": (
        {"system": "S", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        [("S", "q", "a", Status.KEPT)],
    ),
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_other_forms_of_rows(name: str, store: Store, tmp_path: Path) -> None:
    row, expected = OTHERS[name]
    path = tmp_path / "in.json"
    path.write_text(json.dumps([row]))
    assert formats.detect(path) == name
    import_files(store, [path])
    assert said(store) == expected


def test_squad_as_one_object(store: Store, tmp_path: Path) -> None:
    qas = [
        {"question": "q1", "answers": [{"text": "a1", "answer_start": 0}]},
        {"question": "q2", "answers": [], "is_impossible": True},
        {"question": "q3", "answers": []},
        {"question": "q4", "answers": [{"text": "a4"}]},
    ]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "2", "data": [{"paragraphs": [{"context": "c", "qas": qas}]}]}, indent=1))
    report = import_files(store, [path])
    assert [each[1:3] for each in said(store)] == [("c\n\nq1", "a1"), ("c\n\nq4", "a4")]
    assert [row.reason for row in report.refused] == ["it has no answer"]


PAIRS = [
    {"prompt": "q", "chosen": "good", "rejected": "bad"},
    {"chosen": [SAY, ANSWER], "rejected": [SAY, ANSWER | {"content": "bad"}]},
    {"instruction": "q", "input": "", "chosen": "good", "rejected": "bad"},
    {"question": "q", "system": "S", "chosen": "good", "rejected": "bad"},
    {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "g"},
        "rejected": {"from": "gpt", "value": "b"},
    },
]


def test_forms_of_pairs(store: Store, tmp_path: Path) -> None:
    report = import_files(store, [lines(tmp_path / "p.jsonl", PAIRS)])
    assert (report.preferences, report.duplicates) == (5, 0) or report.refused == ()
    assert {pair.dialog[-1] for pair in store.preferences()} == {Message("user", "q")}


def test_csv_and_a_folder(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.csv").write_text('\ufeffinstruction,input,output\n"Say ""hi"", all",,hi\n"two\nlines",x,"3"\n')
    with gzip.open(folder / "deep" / "b.jsonl.gz", "wt") as file:
        file.write(json.dumps(ROWS["alpaca"][1]))
    (folder / "notes.txt").write_text("not data")
    (folder / "dataset_info.json").write_text("{}")
    report = import_files(store, [folder])
    assert (report.new, report.refused) == (3, ())
    assert {each[1] for each in said(store)} == {'Say "hi", all', "two\nlines\n\nx", "Say hi."}
    assert [name for _, name in report.formats] == ["csv", "alpaca"]


def test_csv_holds_lists_as_json(store: Store, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        'messages\n"[{""role"":""user"",""content"":""q""},{""role"":""assistant"",""content"":""a""}]"\n'
    )
    assert import_files(store, [tmp_path / "m.csv"]).new == 1


def test_refused_rows_are_listed_and_the_others_come_in(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(
        b'{"instruction": "a", "output": "b"}\n'
        b"\n"
        b"{broken\n"
        b'{"instruction": "a2", "output": 7}\n'
        b'{"instruction": "a", "instruction": "b", "output": "c"}\n'
        b'{"instruction": "\xff", "output": "c"}\n'
        b'{"instruction": "\\ud800", "output": "c"}\n'
        b'{"instruction": "a", "output": NaN}\n'
        b"[1]\n"
        b'{"instruction": "last", "output": "d"}'
    )
    report = import_files(store, [path])
    assert report.new == 2
    reasons = {row.line: row.reason for row in report.refused}
    assert list(reasons) == [3, 4, 5, 6, 7, 8, 9]
    for line, words in {
        3: "not JSON",
        4: "a number",
        5: "twice",
        6: "UTF-8",
        7: "surrogate",
        8: "NaN",
        9: "object",
    }.items():
        assert words in reasons[line]


def test_why_a_line_is_no_json_is_plain_english(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"instruction": "a", "output": "b"}\n{"instruction": "a\x1b", "output": "b"}\n')
    assert [row.reason for row in import_files(store, [path]).refused] == [
        "it is not JSON: Invalid control character at column 19"
    ]


def test_an_array_goes_on_after_a_row_that_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mixed.json"
    path.write_bytes(
        b'[\n {"instruction": "a", "output": "b"},\n {"instruction": "x", "output": NaN},\n'
        b' {"instruction": "x", "x": 1, "x": 2, "output": "y"},\n {"instruction": "\xff", "output": "y"},\n'
        b' 5,\n {"instruction": "c", "output": "d"}\n]\n'
    )
    report = import_files(store, [path])
    assert report.new == 2
    assert [row.line for row in report.refused] == [3, 4, 5, 6]


def test_a_dry_run_says_what_would_come_in(store: Store, tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [*ROWS["alpaca"], *ROWS["alpaca"][:1], {"instruction": "", "output": "x"}])
    pairs = lines(tmp_path / "p.jsonl", ROWS["preference"])
    told = import_files(store, [path, pairs], dry_run=True)
    assert store.stats().exchanges == store.count_preferences() == 0
    assert (told.new, told.preferences, told.refused_rows) == (4, 1, 1)
    assert import_files(store, [path, pairs]) == told
    after = import_files(store, [path, pairs], dry_run=True)
    assert (after.new, after.preferences, after.duplicates) == (0, 0, 5)


def test_progress_and_status(store: Store, tmp_path: Path) -> None:
    rows = [{"instruction": f"i{number}", "output": "o"} for number in range(8001)]
    seen = list[int]()
    import_files(
        store,
        [lines(tmp_path / "a.jsonl", rows)],
        status=Status.PENDING,
        progress=lambda progress: seen.append(progress.rows),
    )
    assert seen == [4000, 8000, 8001]
    assert store.count(Filter(statuses=(Status.PENDING,))) == 8001


def test_refusals_of_whole_files(store: Store, tmp_path: Path) -> None:
    unknown = lines(tmp_path / "u.jsonl", [{"foo": 1, "bar": 2}])
    with pytest.raises(ImportRefused, match="foo, bar"):
        import_files(store, [unknown])
    with pytest.raises(ImportRefused, match="not a file"):
        import_files(store, [tmp_path / "missing.json"])
    with pytest.raises(ImportRefused, match="no data files"):
        (tmp_path / "empty").mkdir()
        import_files(store, [tmp_path / "empty"])
    with pytest.raises(UsageError, match="no format"):
        import_files(store, [unknown], format="nonsense")
    report = import_files(store, [unknown, lines(tmp_path / "a.jsonl", ROWS["alpaca"])])
    assert (report.new, [row.line for row in report.refused]) == (3, [0])


def test_exports_overwrite_nothing_by_themselves(store: Store, tmp_path: Path) -> None:
    import_files(store, [lines(tmp_path / "a.jsonl", ROWS["alpaca"])])
    target = tmp_path / "out.jsonl"
    target.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export_file(store, target, "alpaca")
    assert target.read_text() == "mine"
    export_file(store, target, "alpaca", force=True)
    assert len(read_rows(target)) == 3
    assert target.stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="import only"):
        export_file(store, tmp_path / "x", "dolly")
    with pytest.raises(CorpusError, match="cannot be written"):
        export_file(store, target / "under" / "a" / "file", "alpaca")


def test_what_a_form_cannot_express_is_told(store: Store, tmp_path: Path) -> None:
    import_files(store, [lines(tmp_path / "a.jsonl", [*ROWS["alpaca"], {"instruction": "[INST]", "output": "x"}])])
    with pytest.raises(TagsInContent, match="Exchange"):
        export_file(store, tmp_path / "o.jsonl", "llama2")
    assert not (tmp_path / "o.jsonl").exists()
    told = list[str]()
    assert export_file(store, tmp_path / "o.jsonl", "llama2", left_out=lambda _, reason: told.append(reason)) == 3
    assert len(told) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_only_what_matches_is_exported(store: Store, tmp_path: Path) -> None:
    import_files(store, [lines(tmp_path / "m.jsonl", ROWS["messages"])])
    first = store.page(order="oldest")[0]
    store.set_status([first.id], Status.REJECTED)
    export_file(store, tmp_path / "o.jsonl", "messages")
    assert read_rows(tmp_path / "o.jsonl") == ROWS["messages"]
    assert export_file(store, tmp_path / "p.jsonl", "messages", Filter(text="👍")) == 1
