from itertools import islice

import pytest
from sync_chain import main_chain

from cherrydag.codec import encode_vertex
from cherrydag.gossip import backlog
from cherrydag.gossip.backlog import Backlog

CHAIN = main_chain(12)
SIZES = [sum(len(encode_vertex(vertex)) for vertex in CHAIN.of(commit)) for commit in CHAIN.commits]


def filled(count: int, executed_index: int = 0) -> Backlog:
    made = Backlog(executed_index)
    for commit in islice(CHAIN.commits, executed_index, count):
        made.certified(commit.index, CHAIN.of(commit))
    return made


@pytest.mark.parametrize(("index", "full"), [(504, False), (505, False), (506, True)])
def test_five_batches_of_commits_may_wait(index: int, full: bool) -> None:
    assert Backlog(5).is_full(index) is full


@pytest.mark.parametrize(("room", "full"), [(-1, True), (0, True), (1, False)])
def test_frames_that_wait_are_bounded(room: int, full: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "UNEXECUTED_BYTES_MAX", sum(SIZES[:7]) + room)
    assert filled(7).is_full(7) is full
    assert not filled(6).is_full(6)


def test_what_is_executed_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "UNEXECUTED_BYTES_MAX", SIZES[6])
    made = filled(7, executed_index=2)
    for index in (3, 5, 4, 6):
        made.executed(index)
        assert made.is_full(7)
    made.executed(7)
    assert not made.is_full(7)
    assert made.executed_index == 7


def test_commits_that_did_not_come_certified_count_by_number_alone() -> None:
    made = Backlog()
    made.executed(400)
    assert not made.is_full(900)
    assert made.is_full(901)
