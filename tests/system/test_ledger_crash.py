"""A whole ledger under kill -9, in short; tools/ledger_crash.py has the long form."""

from collections.abc import Callable
from pathlib import Path

import pytest
from system.ledger_rig import Moment, crash

from cherrydag.consensus.effects import SubDag
from cherrydag.execution.executor import CommitResult, Executor
from cherrydag.runtime.service import Service
from cherrydag.runtime.submissions import Tracker


def test_what_was_told_survives_every_kill(tmp_path: Path) -> None:
    crashes = crash(10, 3, tmp_path)
    assert crashes.findings == []
    assert crashes.loaded and crashes.progress == crashes.loaded
    assert {Moment.LOAD, Moment.START} <= crashes.moments.keys()
    assert crashes.acknowledged > 100 and crashes.restored


def too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions are called final as soon as they have a place."""
    sequenced = Tracker.sequenced

    def final(tracker: Tracker, ids: bytes, tags, places) -> None:
        sequenced(tracker, ids, tags, places)
        tracker.final(ids, tags, places, places * 0 + 1)

    monkeypatch.setattr(Tracker, "sequenced", final)


def without_first_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is handed in after a restart is told what became of the copy."""
    monkeypatch.setattr(
        Service, "_first_copies", lambda service, ids, statuses, places, again: (statuses, places)
    )


def with_a_careless_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state depends on how much this process has executed."""
    execute = Executor.execute

    def careless(executor: Executor, sub_dag: SubDag) -> CommitResult:
        executor.supply += 1
        return execute(executor, sub_dag)

    monkeypatch.setattr(Executor, "execute", careless)


@pytest.mark.parametrize("break_it", [too_early, without_first_results, with_a_careless_state])
def test_a_ledger_that_breaks_a_promise_is_found(
    break_it: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    assert crash(6, 3, tmp_path).findings
