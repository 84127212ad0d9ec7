"""What the next commit waits for is asked of another peer after a while."""

from dataclasses import replace

import pytest
from sync_rig import A, B, C, answer, certify, fault, ranges, syncing
from vertices import validator_vertex

from cherrydag.gossip.commit_sync import CommitSync
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import GetVertices, Vertices
from cherrydag.primitives import Peer


@pytest.mark.parametrize(("now_ms", "again"), [(499, []), (500, [(B, 1, 10)]), (501, [(B, 1, 10)])])
def test_commits_that_the_next_one_is_among_are_asked_of_who_is_idle(
    now_ms: int, again: list[tuple[Peer, int, int]]
) -> None:
    sync = syncing(A, B, ranges_max=1)
    ((_, request),) = sync.requests(0)
    assert sync.wake_at_ms == 500
    assert ranges(sync.requests(now_ms)) == again
    assert sync.expects(A, request.number)
    is_late = bool(again)
    assert bool(sync.on_commits(A, answer(request), now_ms)) is not is_late
    assert sync.lies(A) == 0


def test_nobody_is_asked_instead_who_owes_an_answer() -> None:
    sync = syncing(A, B)
    assert ranges(sync.requests(0)) == [(A, 1, 10), (B, 11, 20)]
    assert sync.requests(500) == []
    assert sync.wake_at_ms == 4000


def test_a_liar_is_not_asked_instead() -> None:
    sync = syncing(A, B, ranges_max=1)
    ((_, request),) = sync.requests(0)
    assert fault(sync.on_commits, A, replace(answer(request), votes=()), 0) == SyncFault.VOTE_STAKE
    assert ranges(sync.requests(0)) == [(B, 1, 10)]
    assert sync.requests(600) == []


def test_what_only_later_commits_wait_for_is_not_asked_again() -> None:
    sync = syncing(A, B, C, target=20)
    (_, first), _ = sync.requests(0)
    sync.on_commits(A, answer(first), 0)
    assert sync.requests(700) == []  # A's votes are being verified, and B's commits come after these


def late_vertices(**limits: int) -> tuple[CommitSync, GetVertices, GetVertices]:
    """Vertices of the next commits that A was asked for and B then too."""
    sync = syncing(A, B, target=10, vertex_requests_max=1, refs_per_request=5, **limits)
    certify(sync)
    ((peer, first),) = ((p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices))
    assert (peer, sync.requests(499)) == (A, [])
    ((peer, second),) = ((p, r) for p, r in sync.requests(500) if isinstance(r, GetVertices))
    assert (peer, second.refs) == (B, first.refs)
    return sync, first, second


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_vertices_of_the_next_commit_are_taken_from_whoever_sends_them_first(order: tuple[int, int]) -> None:
    sync, *asked = late_vertices()
    answers = [(A, answer(asked[0])), (B, answer(asked[1]))]
    sync.on_vertices(*answers[order[0]], 510)
    held = sync.held_bytes
    assert len(sync.ready()) == 1
    sync.on_vertices(*answers[order[1]], 520)
    assert sync.held_bytes < held
    assert not sync.expects(A, asked[0].number) and not sync.expects(B, asked[1].number)


def test_a_false_answer_that_comes_late_is_a_lie() -> None:
    sync, first, _ = late_vertices()
    stranger = Vertices(first.number, (validator_vertex(signed=False),))
    assert fault(sync.on_vertices, A, stranger, 510) == SyncFault.NOT_ASKED
    assert sync.lies(A) == 1
    assert sync.requests(510) == []  # B is still expected to send the same


def test_slow_links_are_given_twice_what_answers_take() -> None:
    sync = syncing(A, B, target=10, vertex_requests_max=1, refs_per_request=5)
    ((peer, request),) = sync.requests(0)
    sync.on_commits(peer, answer(request), 2000)
    sync.on_votes_verified(request.number, True, 2000)
    assert len(sync.requests(2000)) == 1
    assert sync.wake_at_ms == 2000 + 2 * (2000 // 4)
    assert sync.requests(2999) == []
    assert len(sync.requests(3000)) == 1
