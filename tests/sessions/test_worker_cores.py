"""A worker's threads: all cores, and half of them while a reply is generated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sessions.training import worker
from sessions.training.assignment import ChatFlag
from sessions.training.control import Control


def test_the_begin_and_the_end_of_a_reply_are_reported_once_and_between_pieces_of_work(tmp_path: Path) -> None:
    with ChatFlag(tmp_path / "flag", create=True) as flag:
        heard: list[bool] = []
        control = Control(tmp_path, flag=flag, chat_share=0.0, on_chat=heard.append)
        control.check()
        assert heard == []
        flag.set(True)
        control.give_way()
        assert heard == [], "not between decoder layers"
        control.check()
        control.check()
        assert heard == [True]
        flag.set(False)
        control.check()
        control.check()
        assert heard == [True, False]
    Control(tmp_path, on_chat=heard.append).check()
    assert heard == [True, False]


@pytest.mark.parametrize(("cores", "half"), [(8, 4), (3, 1), (1, 1)])
def test_all_cores_and_half_of_them_beside_a_reply(monkeypatch: pytest.MonkeyPatch, cores: int, half: int) -> None:
    used: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    on_chat = worker.core_switch()
    on_chat(True)
    on_chat(False)
    assert used == [cores, half, cores]


def test_a_number_in_the_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    worker.core_switch()(True)
    assert used == []
