"""A short form of tools/chaos.py, and a history that notices what it is there for."""

from pathlib import Path

from system.chaos_history import History, Told
from system.chaos_rig import chaos

ONE, OTHER = b"1" * 32, b"2" * 32


async def test_what_was_told_stays_true_under_kills_and_restarts(tmp_path: Path) -> None:
    outcome = await chaos(tmp_path / "net", 8, 3, heal_every=4)
    assert outcome.findings == []
    assert outcome.paid > 0 and outcome.commits > 0 and outcome.roots > 0
    assert outcome.steps.total() == 8


def test_two_commits_at_one_index_are_found() -> None:
    history = History()
    history.on_commits(0, 1, [ONE, ONE])
    history.on_commits(1, 2, [OTHER])
    assert len(history.findings) == 1 and "commit 2" in history.findings[0]


def test_a_node_that_goes_back_is_found() -> None:
    history = History()
    history.on_commits(0, 1, [ONE, ONE])
    history.on_head(0, 2)
    assert history.findings == []
    history.on_head(0, 1)
    assert "went back to commit 1 from 2" in history.findings[0]


def test_two_roots_of_one_checkpoint_are_found() -> None:
    history = History()
    history.on_root(0, 20, ONE)
    history.on_root(1, 20, ONE)
    assert history.findings == []
    history.on_root(1, 20, OTHER)
    assert len(history.findings) == 1


def test_a_final_transaction_that_moves_changes_or_vanishes_is_found() -> None:
    history, told = History(), Told(7, 0, 1)
    history.on_final(0, ONE, told)
    history.on_receipt(1, 6, ONE, None)  # it has not come so far
    history.on_receipt(1, 7, ONE, told)
    assert history.findings == []
    history.on_receipt(1, 7, ONE, None)
    history.on_final(1, ONE, Told(8, 0, 1))
    history.on_final(1, ONE, Told(7, 0, 2))
    assert len(history.findings) == 3
