"""The way of a certified commit, and the main chain that moves beside it."""

from dataclasses import replace

import pytest
from sync_chain import ORIGIN
from sync_rig import (
    FALSE,
    LIMITS,
    SYNC,
    A,
    B,
    answer,
    certify,
    fault,
    first_range,
    ranges,
    run_to_end,
    syncing,
)
from vertices import RULES, digest

from cherrydag.errors import InvariantViolation
from cherrydag.gossip.commit_sync import CommitSync
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import Commits, GetCommits, GetVertices
from cherrydag.gossip.sync_limits import SyncLimits

# The way of a commit


def test_who_is_behind_by_less_than_a_batch_asks_for_that() -> None:
    sync = syncing(A, target=7, lag=5)
    assert ranges(sync.requests(0)) == [(A, 1, 7)]
    sync = syncing(A, target=4, lag=5)
    assert sync.requests(0) == []


@pytest.mark.parametrize(("target", "asked"), [(9, []), (10, [(1, 7)]), (16, [(1, 10), (11, 13)])])
def test_the_last_commits_are_not_asked_for(target: int, asked: list[tuple[int, int]]) -> None:
    """Nobody could certify them yet, and would count as one that holds back."""
    sync = syncing(A, B, target=target, tail=3)
    assert [(first, last) for _, first, last in ranges(sync.requests(0))] == asked


def test_the_default_limits_ask_for_something_as_soon_as_it_is_far_behind() -> None:
    limits = SyncLimits()
    assert 0 < limits.tail < limits.lag <= limits.batch


@pytest.mark.parametrize(("lag", "active"), [(9, False), (10, True), (11, True)])
def test_who_is_as_far_behind_as_the_lag_syncs(lag: int, active: bool) -> None:
    sync = syncing(A, target=lag)
    assert sync.is_active is active
    assert bool(sync.requests(0)) is active


def test_the_target_does_not_sink() -> None:
    sync = syncing(A, target=20)
    sync.set_target(3, 0)
    assert sync.is_active


def test_commits_come_out_in_order_with_all_their_vertices_and_once() -> None:
    sync = syncing(A, B)
    applied = run_to_end(sync)
    assert [ready.commit for ready in applied] == list(SYNC.commits[:37])
    assert all(ready.vertices == SYNC.of(ready.commit) for ready in applied)
    assert not sync.is_active
    assert sync.held_bytes == 0
    assert sync.wake_at_ms is None
    assert sync.requests(0) == sync.ready() == []


def test_sync_begins_anywhere_in_the_chain() -> None:
    sync = CommitSync(RULES, 12, SYNC.digest_at(12), limits=LIMITS)
    sync.set_peers((A,), 0)
    sync.set_target(37, 0)
    assert [ready.commit.index for ready in run_to_end(sync)] == list(range(13, 38))


def test_what_is_known_is_not_fetched() -> None:
    known = {ref: SYNC.vertices[ref] for commit in SYNC.commits[:5] for ref in commit.vertices}
    sync = CommitSync(RULES, 0, ORIGIN, limits=LIMITS, find=known.get)
    sync.set_peers((A,), 0)
    sync.set_target(10, 0)
    certify(sync)
    assert [ready.commit.index for ready in sync.ready()] == [1, 2, 3, 4, 5]
    (request,) = (r for _, r in sync.requests(0) if isinstance(r, GetVertices))
    assert not known.keys() & set(request.refs)


def test_a_range_that_comes_short_is_completed() -> None:
    sync = syncing(A, B)
    ((peer, request), _) = sync.requests(0)
    assert isinstance(request, GetCommits)
    sync.on_commits(peer, answer(replace(request, last=6)), 0)
    sync.on_votes_verified(request.number, True, 0)
    assert (A, 7, 10) in ranges(sync.requests(500))
    assert [ready.commit.index for ready in run_to_end(syncing(A, B))] == list(range(1, 38))


# The main chain moves by itself


def test_what_the_main_chain_has_when_the_votes_are_verified_does_not_come_out() -> None:
    sync, peer, request, true = first_range(target=10)
    sync.on_commits(peer, true, 0)
    sync.applied(4, SYNC.digest_at(4))
    sync.on_votes_verified(request.number, True, 0)
    sync.on_votes_verified(request.number, True, 0)
    assert sync.requests(0) == []  # less than a batch is lacking, and nothing above waits for it
    sync, peer, request, true = first_range(target=20)
    sync.on_commits(peer, true, 0)
    sync.applied(4, SYNC.digest_at(4))
    sync.on_votes_verified(request.number, True, 0)
    sync.on_votes_verified(request.number, True, 0)
    ((peer, fetch),) = ((p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices))
    assert fetch.refs == tuple(ref for commit in SYNC.commits[4:10] for ref in commit.vertices)
    sync.on_vertices(peer, answer(fetch), 0)
    assert [ready.commit.index for ready in sync.ready()] == [5, 6, 7, 8, 9, 10]


def test_what_the_main_chain_has_by_itself_does_not_come_out() -> None:
    sync = syncing(A, ranges_max=1)
    certify(sync)
    sync.applied(4, SYNC.digest_at(4))
    for peer, request in sync.requests(0):
        if isinstance(request, GetVertices):
            assert not set(SYNC.commits[3].vertices) & set(request.refs)
            sync.on_vertices(peer, answer(request), 0)
    assert [ready.commit.index for ready in sync.ready()] == [5, 6, 7, 8, 9, 10]


def test_answers_to_what_is_no_longer_needed_are_no_fault() -> None:
    sync = syncing(A, B, target=20)
    requests = sync.requests(0)
    sync.applied(20, SYNC.digest_at(20))
    assert not sync.is_active
    for peer, request in requests:
        assert sync.expects(peer, request.number)
        assert sync.on_commits(peer, answer(request), 0) == ()
        sync.on_votes_verified(request.number, True, 0)
    assert sync.ready() == []


def test_less_than_the_lag_behind_gives_up_what_is_not_certified() -> None:
    sync = syncing(A, B, target=20)
    sync.requests(0)
    sync.applied(11, SYNC.digest_at(11))
    assert not sync.is_active
    assert sync.requests(0) == []


def test_a_gap_below_what_is_certified_is_closed_even_then() -> None:
    sync = syncing(A, B, target=20)
    (_, low), (_, high) = sync.requests(0)
    sync.on_commits(B, answer(high), 0)
    sync.on_votes_verified(high.number, True, 0)
    sync.on_commits(A, Commits(low.number, (), ()), 0)
    sync.applied(9, SYNC.digest_at(9))
    sync.applied(9, SYNC.digest_at(9))
    assert ranges(sync.requests(0)) == [(B, 10, 10)]


def test_a_range_that_the_main_chain_has_entered_must_meet_it() -> None:
    sync = syncing(A, B, ranges_max=1)
    _, request = sync.requests(0)[0]
    sync.applied(5, SYNC.digest_at(5))
    forged = tuple(answer(request).commits)
    other = answer(request, FALSE)
    assert other.commits[4].digest != forged[4].digest
    assert fault(sync.on_commits, A, other, 0) == SyncFault.COMMIT_LINK


def test_a_commit_of_ours_that_differs_from_the_certified_one_stops_the_node() -> None:
    for handed_out in (False, True):
        sync = syncing(A, target=10)
        certify(sync)
        if handed_out:
            for peer, request in sync.requests(0):
                sync.on_vertices(peer, answer(request), 0)
            assert len(sync.ready()) == 10
        with pytest.raises(InvariantViolation):
            sync.applied(10, digest("other"))
