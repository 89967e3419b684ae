"""A plan and the report of the gate as lines."""

from __future__ import annotations

from corpora.selection import Group, Selection
from sessions.training.preview import LeftOut, Preview
from sessions.training.recipe import Recipe
from sessions.training.report import GateReport, Tally
from tests.tui.worlds import report
from tui import gate_text
from tui.plan import Change, changes, plan_of, value_text

FILES = tuple(f"{n}.json" for n in range(9))


def texts(preview: Preview, **given: object) -> list[str]:
    return [text for text, _ in plan_of(preview, "mine", **given)]  # type: ignore[arg-type]


def test_a_plan_accounts_for_every_kept_reply() -> None:
    left_out = (
        LeftOut("import", 50_000, ("a.json",)),
        LeftOut("group", 1),
        LeftOut("unfit", 2, ("'x': It is long.", "'y': It is long.")),
    )
    selection = Selection(off=(Group("tag", "secret"),), files=())
    preview = Preview("mine/v2", selection, 52_020, 5, 2012, 2000, left_out, contradictions=2)
    assert texts(preview, recipe=Recipe(rank=8), hints={"import": "Press g.", "warning": "See."}) == [
        "5 new replies, with 2,000 replies of earlier runs mixed in, on top of mine/v2.",
        "Published as the next version of mine.",
        "52,020 kept: 5 new · 2,012 trained in mine/v2 already · 50,000 imported, not selected · 1 switched off · "
        "2 cannot be trained.",
        "Selected: without #secret",
        "50,000 imported replies are not selected: a.json. Press g.",
        "2 replies cannot be trained: 'x': It is long; 'y': It is long.",
        "2,000 of the 2,012 earlier replies are mixed in.",
        "2 prompts are kept with different replies: the model may give either, and the run goes to its last step. See.",
        "Settings: rank 8 (default 16).",
    ]


def test_a_plan_with_nothing_new_says_why() -> None:
    assert texts(Preview("base", Selection(), 0, 0)) == ["No reply is kept. Keep or correct one first."]
    trained = Preview("mine/v1", Selection(), 5, 0, 5)
    assert texts(trained)[0] == "Every selected reply was trained in mine/v1 already. Keep or correct more."
    imports = Preview("mine/v1", Selection(), 14, 0, 5, left_out=(LeftOut("import", 9, FILES),))
    assert texts(imports, hints={"import": "g selects them."}) == [
        "9 imported replies are not selected: 0.json, 1.json, 2.json, 3.json, 4.json, 5.json and 3 more. "
        "Select them, or keep or correct more replies. g selects them.",
        "14 kept: 0 new · 5 trained in mine/v1 already · 9 imported, not selected.",
    ]
    none = Preview("base", Selection(query="tag:x"), 4, 0, left_out=(LeftOut("query", 4),))
    assert texts(none)[0] == "No kept reply is selected. Change the selection."


def test_each_changed_setting_comes_with_its_default() -> None:
    assert changes(Recipe()) == []
    assert changes(Recipe(rank=8, learning_rate=1e-5, tensorboard=True, samples=("Who are you?",))) == [
        Change("rank", "8", "16"),
        Change("learning rate", "1e-05", "0"),
        Change("samples", "Who are you?", ""),
        Change("tensorboard", "yes", "no"),
    ]
    assert value_text(None) == ""


def test_the_gate_in_lines() -> None:
    found = report(passed=False)
    assert gate_text.result_of(found) == [
        ("The gate was not passed.", "bad"),
        ("5 of 5 reproduced · 11 of 15 reworded · 97 of 100 general replies unchanged", ""),
        ("KL to the base 0.07 of 0.05 nats/token", "bad"),
        ("Published at 0.7 of the strength that was trained.", ""),
        ("2 general replies changed.", "bad"),
    ]
    assert [each.check for each in gate_text.failed_in(found)] == ["general", "general", "reworded"]
    assert (gate_text.failures(found), gate_text.failures(report(passed=True))) == (2, 0)
    assert gate_text.result_of(GateReport(passed=True, new=Tally(1, 1)))[1:] == [("1 of 1 reproduced", "")]
    assert gate_text.result_of(GateReport(passed=True)) == [("The gate was passed.", "good")]
