"""False answers to commit sync, a test for each code."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sync_chain import VOTE_DELAY
from sync_rig import SYNC, A, B, answer, check_refused, fault, first_range, first_vertices, ranges, syncing
from vertices import CHAIN, committee_of, digest, validator_vertex

from cherrydag.commit import CommitVote
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import Commits, GetCommits, GetVertices, Vertices
from cherrydag.verify import EpochRules
from cherrydag.vertex import ValidatorVertex


def test_commits_that_nobody_asked_for_are_refused() -> None:
    sync, _, request, true = first_range(A, B)
    assert sync.expects(A, request.number)
    assert not sync.expects(B, request.number)
    assert fault(sync.on_commits, B, true, 0) == SyncFault.UNSOLICITED
    assert fault(sync.on_commits, A, replace(true, number=99), 0) == SyncFault.UNSOLICITED
    assert fault(sync.on_vertices, A, Vertices(request.number, ()), 0) == SyncFault.UNSOLICITED
    assert sync.on_commits(A, true, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda true: replace(true, commits=SYNC.commits[:11]),
        lambda true: replace(true, commits=true.commits[1:]),
        lambda true: replace(true, commits=(*true.commits[:4], *true.commits[5:])),
        lambda true: replace(true, commits=()),
    ],
)
def test_commits_other_than_those_asked_for_are_refused(change: Callable[[Commits], Commits]) -> None:
    check_refused(SyncFault.COMMIT_RANGE, change)


def test_commits_of_another_epoch_are_refused() -> None:
    rules = EpochRules.of(CHAIN, committee_of([1, 1, 1, 1], epoch=8))
    check_refused(SyncFault.COMMIT_EPOCH, lambda true: true, rules=rules)


@pytest.mark.parametrize("place", [0, 1, 5, 9])
def test_a_commit_that_does_not_link_is_refused(place: int) -> None:
    def change(true: Commits) -> Commits:
        commits = list(true.commits)
        commits[place] = replace(commits[place], prev_digest=digest("nothing"))
        return replace(true, commits=tuple(commits))

    check_refused(SyncFault.COMMIT_LINK, change)


def test_a_range_must_link_to_the_certified_one_above_it() -> None:
    sync = syncing(A, B)
    (_, low), (_, high) = sync.requests(0)
    sync.on_commits(B, answer(high), 0)
    sync.on_votes_verified(high.number, True, 0)
    commits = list(answer(low).commits)
    commits[-1] = replace(commits[-1], timestamp_ms=99)
    assert fault(sync.on_commits, A, Commits(low.number, tuple(commits), ()), 0) == SyncFault.COMMIT_LINK


def test_a_vertex_that_two_commits_order_is_refused() -> None:
    def change(true: Commits) -> Commits:
        commits = list(true.commits)
        last = commits[-1]
        commits[-1] = replace(last, vertices=(commits[2].vertices[0], *last.vertices))
        return replace(true, commits=tuple(commits))

    check_refused(SyncFault.COMMIT_VERTICES, change)


def with_vote(true: Commits, place: int, **changes: Any) -> Commits:
    votes = list(true.votes)
    votes[place] = replace(votes[place], **changes)
    return replace(true, votes=tuple(votes))


@pytest.mark.parametrize(
    "change",
    [
        lambda true: with_vote(true, 1, author=4),
        lambda true: with_vote(true, 1, author=0),
        lambda true: with_vote(true, 1, epoch=8),
        lambda true: with_vote(true, 0, commit_votes=()),
        lambda true: with_vote(true, 0, commit_votes=(CommitVote(10, digest("other")),)),
        lambda true: with_vote(true, 0, commit_votes=(CommitVote(11, SYNC.digest_at(10)),)),
        lambda true: replace(true, votes=answer(GetCommits(1, 9, 9)).votes),
    ],
)
def test_a_vote_that_is_none_is_refused(change: Callable[[Commits], Commits]) -> None:
    check_refused(SyncFault.VOTE, change)


def votes_of(*authors: int) -> tuple[ValidatorVertex, ...]:
    """Their votes for the last commit of the first range."""
    voting = [v for v in SYNC.of(SYNC.commits[9 + VOTE_DELAY]) if isinstance(v, ValidatorVertex)]
    return tuple(voting[author] for author in authors)


@pytest.mark.parametrize("voters", [(), (0,), (3,)])
def test_votes_of_less_than_validity_stake_are_refused(voters: tuple[int, ...]) -> None:
    check_refused(SyncFault.VOTE_STAKE, lambda true: replace(true, votes=votes_of(*voters)))


@pytest.mark.parametrize("voters", [(0, 1), (2, 3)])
def test_any_votes_of_validity_stake_certify_a_range(voters: tuple[int, ...]) -> None:
    sync, peer, _, true = first_range()
    votes = votes_of(*voters)
    assert sync.on_commits(peer, replace(true, votes=votes), 0) == votes


@pytest.mark.parametrize(
    ("stakes", "voters", "certify"),
    [
        ([3, 3, 2, 2], (0,), False),
        ([4, 2, 2, 2], (0,), True),
        ([5, 2, 2, 1], (0,), True),
        ([2, 1, 4, 3], (0, 1), False),
        ([2, 2, 3, 3], (0, 1), True),
        ([2, 3, 3, 2], (0, 1), True),
    ],
)
def test_votes_count_by_stake(stakes: list[int], voters: tuple[int, ...], certify: bool) -> None:
    """Of ten, f + 1 is 4: once one voter, once two have 3, 4 and 5."""
    rules, votes = EpochRules.of(CHAIN, committee_of(stakes)), votes_of(*voters)
    if certify:
        sync, peer, _, true = first_range(rules=rules)
        assert sync.on_commits(peer, replace(true, votes=votes), 0) == votes
    else:
        check_refused(SyncFault.VOTE_STAKE, lambda true: replace(true, votes=votes), rules=rules)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_no_more_votes_are_verified_than_make_validity_stake(n: int) -> None:
    sync, peer, _, true = first_range()
    assert sync.on_commits(peer, replace(true, votes=votes_of(*range(n))), 0) == votes_of(0, 1)


def test_invalid_votes_cost_the_peer_its_place() -> None:
    sync, peer, request, true = first_range(A, B)
    sync.on_commits(peer, true, 0)
    assert sync.ready() == []
    sync.on_votes_verified(request.number, False, 0)
    assert sync.lies(A) == 1
    assert sync.ready() == []
    assert ranges(sync.requests(0)) == [(B, 1, 10)]
    sync.on_votes_verified(request.number, True, 0)  # said of what is no longer there
    assert sync.ready() == []


def check_vertices_refused(code: SyncFault, change: Callable[[Vertices], Vertices]) -> None:
    sync, peer, request, true = first_vertices()
    held = sync.held_bytes
    assert peer == A
    assert fault(sync.on_vertices, peer, change(true), 0) == code
    assert sync.lies(A) == 1
    assert sync.held_bytes == held
    ((peer, again),) = ((p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices))
    assert (peer, again.refs) == (B, request.refs)


def test_vertices_that_nobody_asked_for_are_refused() -> None:
    sync, _, _, true = first_vertices()
    assert fault(sync.on_vertices, B, true, 0) == SyncFault.UNSOLICITED
    assert fault(sync.on_commits, A, Commits(true.number, (), ()), 0) == SyncFault.UNSOLICITED


def test_more_vertices_than_were_asked_for_are_refused() -> None:
    check_vertices_refused(
        SyncFault.TOO_MANY,
        lambda true: replace(true, vertices=(*true.vertices, validator_vertex(signed=False))),
    )


def test_a_vertex_that_was_not_asked_for_is_refused() -> None:
    stranger = validator_vertex(signed=False)
    check_vertices_refused(
        SyncFault.NOT_ASKED, lambda true: replace(true, vertices=(*true.vertices[:3], stranger))
    )
    check_vertices_refused(
        SyncFault.NOT_ASKED, lambda true: replace(true, vertices=true.vertices[:2] + true.vertices[:1])
    )


def test_a_payload_that_the_header_does_not_name_is_refused() -> None:
    def change(true: Vertices) -> Vertices:
        vertices = list(true.vertices)
        place = next(i for i, v in enumerate(vertices) if len(v.payload))
        records = vertices[place].payload.records.copy()
        records["signature"][0][0] ^= 1
        payload = replace(vertices[place].payload, records=records)
        forged = replace(vertices[place], payload=payload)
        assert forged.digest == vertices[place].digest
        vertices[place] = forged
        return replace(true, vertices=tuple(vertices))

    check_vertices_refused(SyncFault.PAYLOAD, change)
