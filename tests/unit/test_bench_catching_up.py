"""What is noted of a node that catches up, and of the load beside it."""

import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import Any

import pytest

from cherrydag.bench import catching_up
from cherrydag.bench.catching_up import Beside, Watched
from cherrydag.bench.histogram import Histogram
from cherrydag.bench.lane import Counters
from cherrydag.bench.load import Load, LoadOutcome, LoadSettings, Second


class Api:
    """A node with these commit indices, one for each question, then the last one; None: no answer."""

    def __init__(self, *indices: int | None) -> None:
        self.indices = list(indices)

    def figures(self) -> Any:
        index = self.indices.pop(0) if len(self.indices) > 1 else self.indices[0]
        if index is None:
            raise ConnectionError("no answer")
        return SimpleNamespace(commit_index=index)


class Network:
    def __init__(self, *apis: Api) -> None:
        self.apis = apis
        self.pids = [os.getpid()] * (len(apis) - 1)

    def start_next(self) -> None:
        self.pids.append(os.getpid())

    def check(self) -> None:
        pass


def watched(monkeypatch: pytest.MonkeyPatch, *apis: Api, patience_s: float = 60.0) -> Watched:
    monkeypatch.setattr(catching_up, "POLL_S", 0.001)
    made = Watched(Network(*apis), len(apis) - 1, patience_s)  # type: ignore[arg-type]
    made.follow(lambda _: None)
    return made


def indices(of: Watched) -> list[tuple[int, int]]:
    return [(moment.own, moment.others) for moment in of.moments]


def test_it_has_caught_up_when_it_is_near_the_furthest(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, Api(90), Api(100), Api(None, 5, 89, 90))
    assert indices(found) == [(0, 0), (0, 100), (5, 100), (89, 100), (90, 100)]
    assert not found.failures


def test_nobody_has_caught_up_with_nodes_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, Api(None, None, 100), Api(None), Api(None, 5, 100))
    assert indices(found) == [(0, 0), (0, 0), (5, 0), (100, 100)]


def test_what_was_known_once_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, Api(100, None, None, 110), Api(50, None, 60, 105))
    assert indices(found) == [(0, 0), (50, 100), (50, 100), (60, 100), (105, 110)]


def test_who_does_not_get_there_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, Api(100), Api(50), patience_s=0.01)
    assert found.failures == ["it has not caught up within 0 s"]


def test_what_it_had_at_the_first_look_took_all_of_the_time_before(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, Api(100), Api(60, 100))
    told = found.result(list(range(0, 2020, 20)), [], 0.0)
    assert (told.transfers, told.commits, told.start_s) == (2000, 100, 0)
    assert told.seconds == round(found.moments[-1].at_s, 2)
    assert told.timeline[0] == (0, 0, 0, 0) and told.timeline[1][1:] == (60, 100, 1200)


# The load beside


def second(final: int) -> Second:
    return Second(2 * final, final, 0, Counters(), Histogram())


class PipedLoad(Load):
    """Its process is a thread of the test. It tells so often; what it sends comes after."""

    def __init__(self, messages: Sequence[object]) -> None:
        super().__init__(LoadSettings(("http://127.0.0.1:1",), None, 100, 10.0, 10.0))  # type: ignore[arg-type]
        ours, self.theirs = Pipe()
        self._pipes.append(ours)
        self._messages = messages
        self._thread = threading.Thread(target=self._send)

    def prepare(self) -> None:
        pass

    def begin(self) -> int:
        self._thread.start()
        return 0

    def _send(self) -> None:
        for message in self._messages:
            self.theirs.send(message)

    def sent(self) -> None:
        """Wait until all was taken that fits nowhere else."""
        self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.theirs.close()


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        os.sched_yield()


def test_a_load_beside_never_waits_for_its_reader() -> None:
    load = PipedLoad([second(number) for number in range(100)])  # more than its pipe holds
    with Beside(load) as beside:
        load.sent()
        until(lambda: beside.final == 99)
    assert beside.failures == []


def test_what_a_load_beside_lost_is_a_failure() -> None:
    outcome = LoadOutcome(counters=Counters(failed={"mempool_nonce": 2}))  # type: ignore[arg-type]
    with Beside(PipedLoad([outcome])) as beside:
        until(lambda: bool(beside.failures))
    assert beside.failures == ["load: 2 transfers were refused for good"]


def test_a_load_beside_that_dies_is_a_failure() -> None:
    load = PipedLoad([])
    with Beside(load) as beside:
        load.theirs.close()
        until(lambda: bool(beside.failures))
    assert beside.failures == ["load: a process of the load has ended before its end"]
