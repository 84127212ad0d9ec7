import heapq
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_chain import ORIGIN, VOTE_DELAY, MainChain, main_chain
from vertices import CHAIN, COMMITTEE, RULES, committee_of, digest, validator_vertex

from cherrydag.codec import encode_vertex
from cherrydag.commit import Commit, CommitVote
from cherrydag.dag.window import Window
from cherrydag.errors import InvariantViolation, PeerFault
from cherrydag.gossip.commit_sync import CommitSync, SyncLimits
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import Commits, GetCommits, GetVertices, Vertices
from cherrydag.gossip.ranges import CertifiedCommit
from cherrydag.gossip.server import Server
from cherrydag.payload import EMPTY_PAYLOAD
from cherrydag.primitives import Peer
from cherrydag.refs import AnyRef
from cherrydag.verify import EpochRules
from cherrydag.vertex import ValidatorVertex

A, B, C, D = (Peer(number) for number in range(4))
SYNC = main_chain(40)
FALSE = main_chain(40, label="false")
LIMITS = SyncLimits(batch=10)

Request = GetCommits | GetVertices


def server_of(chain: MainChain, bytes_max: int = 4 << 20) -> Server:
    store = chain.store()
    return Server(COMMITTEE, Window([1, 1, 1, 1], bytes(16)), store, store.newest, bytes_max)


def syncing(*peers: Peer, target: int = 37, rules: EpochRules = RULES, **limits: int) -> CommitSync:
    sync = CommitSync(rules, 0, ORIGIN, limits=LIMITS._replace(**limits))
    sync.set_peers(peers, 0)
    for peer in peers:
        sync.peer_index(peer, target)
    sync.set_target(target, 0)
    return sync


def answer(request: Request, chain: MainChain = SYNC) -> Any:
    """What an honest server that has all of the chain answers."""
    server = server_of(chain)
    return server.commits(request) if isinstance(request, GetCommits) else server.vertices(request)


def ranges(requests: list[tuple[Peer, Request]]) -> list[tuple[Peer, int, int]]:
    return [(peer, r.first, r.last) for peer, r in requests if isinstance(r, GetCommits)]


def fault(function: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(PeerFault) as raised:
        function(*arguments)
    assert str(raised.value)
    return raised.value.code


def certify(sync: CommitSync, now_ms: int = 0, chain: MainChain = SYNC) -> None:
    """Answer every request for commits, truly, and say that all votes are valid."""
    for peer, request in sync.requests(now_ms):
        if isinstance(request, GetCommits):
            assert sync.on_commits(peer, answer(request, chain), now_ms)
            sync.on_votes_verified(request.number, True, now_ms)


def run_to_end(sync: CommitSync, target: int = 37, chain: MainChain = SYNC) -> list[CertifiedCommit]:
    """Answer everything truly and apply what comes out."""
    applied: list[CertifiedCommit] = []
    for _ in range(1000):
        for peer, request in sync.requests(0):
            if isinstance(request, GetCommits):
                sync.on_commits(peer, answer(request, chain), 0)
                sync.on_votes_verified(request.number, True, 0)
            else:
                sync.on_vertices(peer, answer(request, chain), 0)
        for ready in sync.ready():
            applied.append(ready)
            sync.applied(ready.commit.index, ready.commit.digest)
        if applied and applied[-1].commit.index >= target:
            break
    return applied


# The way of a commit


@pytest.mark.parametrize(("lag", "active"), [(9, False), (10, True), (11, True)])
def test_who_is_a_batch_behind_syncs(lag: int, active: bool) -> None:
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


# What is in flight


def test_two_ranges_are_in_flight_each_at_another_peer() -> None:
    assert ranges(syncing(A, B, C).requests(0)) == [(A, 1, 10), (B, 11, 20)]
    assert ranges(syncing(A).requests(0)) == [(A, 1, 10)]


@pytest.mark.parametrize(("target", "last"), [(13, 13), (20, 20), (25, 20)])
def test_no_commit_above_the_target_is_asked_for(target: int, last: int) -> None:
    assert ranges(syncing(A, B, target=target).requests(0))[-1] == (B, 11, last)


def test_no_more_than_three_batches_are_held_until_the_chain_advances() -> None:
    sync = syncing(A, B, C, ranges_max=9, target=36)
    asked = ranges(sync.requests(0))
    assert [(first, last) for _, first, last in asked] == [(1, 10), (11, 20), (21, 30)]
    sync.applied(4, SYNC.digest_at(4))
    sync.set_peers((A, B, C, D), 0)
    assert ranges(sync.requests(0)) == [(D, 31, 34)]


def test_back_pressure_stops_requests_and_what_comes_out() -> None:
    sync = syncing(A)
    sync.set_back_pressure(True)
    assert sync.requests(0) == []
    sync.set_back_pressure(False)
    certify(sync)
    for peer, request in sync.requests(0):
        if isinstance(request, GetVertices):
            sync.on_vertices(peer, answer(request), 0)
    sync.set_back_pressure(True)
    assert sync.ready() == []
    sync.set_back_pressure(False)
    assert len(sync.ready()) == 10


def test_vertices_are_asked_of_who_sent_the_commits_then_of_others() -> None:
    sync = syncing(A, B, C, refs_per_request=5, ranges_max=1)
    certify(sync)
    vertex_requests = [(p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices)]
    assert [peer for peer, _ in vertex_requests] == [A, A, C, B]
    refs = [ref for _, request in vertex_requests for ref in request.refs]
    assert refs == [ref for commit in SYNC.commits for ref in commit.vertices][:20]


def test_before_the_first_vertices_64_are_asked_for_at_once() -> None:
    sync = syncing(A, B, batch=30, ranges_max=1)
    certify(sync)
    asked = [len(r.refs) for _, r in sync.requests(0) if isinstance(r, GetVertices)]
    assert asked == [64, 126 - 64]


@pytest.mark.parametrize(("spare", "fitting"), [(-1, 6), (0, 7), (1, 7)])
def test_as_many_vertices_are_asked_of_a_peer_as_an_answer_holds(spare: int, fitting: int) -> None:
    # All frames are of one size here, so the mean is exact once it has settled.
    plain = [c for c in SYNC.commits if c.index > 4 and c.index % 5 and c.index % 7]
    size = len(encode_vertex(SYNC.vertices[plain[0].vertices[0]]))
    assert {len(encode_vertex(SYNC.vertices[ref])) for c in plain for ref in c.vertices} == {size}
    sync = syncing(A, B, C, target=37, batch=37, response_bytes_max=7 * size + spare)
    sync._vertex_bytes = size
    certify(sync)
    asked = [(p, len(r.refs)) for p, r in sync.requests(0) if isinstance(r, GetVertices)]
    assert asked == [(A, fitting), (A, fitting), (B, fitting), (C, fitting)]


@pytest.mark.parametrize(("answer_bytes", "grows"), [(64_000, True), (8000, False)])
def test_how_much_is_asked_for_follows_the_frames_that_come(answer_bytes: int, grows: bool) -> None:
    sync = syncing(A, batch=37, response_bytes_max=answer_bytes, vertex_requests_max=1)
    certify(sync)
    asked: list[int] = []
    while requests := [(p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices)]:
        ((peer, request),) = requests
        asked.append(len(request.refs))
        sync.on_vertices(peer, answer(request), 0)
    assert sum(asked) == sum(len(commit.vertices) for commit in SYNC.commits[:37])
    assert asked[0] == 64
    assert asked[1] > 64 if grows else asked[-2] < asked[1] < 64


def test_vertices_longer_than_an_answer_are_asked_for_one_by_one() -> None:
    sync = syncing(A, batch=37, response_bytes_max=64, held_bytes_max=1 << 20, vertex_requests_max=1)
    certify(sync)
    asked: list[int] = []
    while requests := [(p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices)]:
        for peer, request in requests:
            asked.append(len(request.refs))
            sync.on_vertices(peer, answer(request), 0)
    assert asked[0] == 64 and set(asked[1:]) == {1}
    assert len(sync.ready()) == 37


def test_no_more_commits_come_out_than_are_wanted() -> None:
    sync = syncing(A, ranges_max=1)
    certify(sync)
    for peer, request in sync.requests(0):
        if isinstance(request, GetVertices):
            sync.on_vertices(peer, answer(request), 0)
    found = [sync.ready(limit=limit) for limit in (0, 1, 3)]
    assert [[ready.commit.index for ready in part] for part in found] == [[], [1], [2, 3, 4]]
    assert [ready.commit.index for ready in sync.ready()] == [5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize(("field", "limit"), [("vertex_requests_max", 3), ("vertex_requests_per_peer", 1)])
def test_vertex_requests_in_flight_are_bounded(field: str, limit: int) -> None:
    sync = syncing(A, B, refs_per_request=1, ranges_max=1, **{field: limit})
    certify(sync)
    peers = [peer for peer, request in sync.requests(0) if isinstance(request, GetVertices)]
    assert len(peers) == 3 if field == "vertex_requests_max" else sorted(peers) == [A, B]


def test_held_bytes_are_bounded_but_for_the_next_commit() -> None:
    frames = sum(len(commit.encoding) for commit in SYNC.commits[:10])
    sync = syncing(A, target=13, held_bytes_max=frames + 3999, response_bytes_max=3999, refs_per_request=7)
    certify(sync)
    highest, applied = 0, 0
    while applied < 10:
        requests = [(p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices)]
        on_their_way = (len(requests) - 1) * 3999
        assert len(requests) <= 1 or sync.held_bytes + on_their_way < frames + 3999
        for peer, request in requests:
            sync.on_vertices(peer, answer(request), 0)
        highest = max(highest, sync.held_bytes)
        for ready in sync.ready():
            applied = ready.commit.index
    assert highest < frames + 4000 + 7 * 1000


def test_when_no_more_may_be_held_the_next_commit_alone_is_asked_for() -> None:
    sync = syncing(A, B, target=10, held_bytes_max=1, refs_per_request=3)
    certify(sync)
    for commit in SYNC.commits[:10]:
        refs: list[AnyRef] = []
        while not (ready := sync.ready()):
            ((peer, request),) = sync.requests(0)
            assert isinstance(request, GetVertices)
            assert sync.requests(0) == []
            refs += request.refs
            sync.on_vertices(peer, answer(request), 0)
        assert tuple(refs) == commit.vertices
        assert [found.commit for found in ready] == [commit]
        assert sync.held_bytes == sum(len(later.encoding) for later in SYNC.commits[commit.index : 10])


def test_who_delivers_little_of_what_was_asked_for_pauses() -> None:
    sync = syncing(A, B, target=10)
    ((_, request),) = sync.requests(0)
    assert isinstance(request, GetCommits)
    sync.on_commits(A, answer(replace(request, last=6)), 0)
    sync.on_votes_verified(request.number, True, 0)
    requests = sync.requests(0)
    assert {peer for peer, _ in requests} == {B}
    ((_, request),) = [(p, r) for p, r in requests if isinstance(r, GetVertices)]
    true = answer(request)
    sync.on_vertices(B, replace(true, vertices=true.vertices[:1]), 0)
    assert sync.requests(499) == []
    assert {r.refs for _, r in sync.requests(500) if isinstance(r, GetVertices)} == {request.refs[1:]}


@pytest.mark.parametrize(("bytes_max", "pauses"), [(0, False), (1, True)])
def test_who_fills_an_answer_may_cut_it(bytes_max: int, pauses: bool) -> None:
    _, _, _, true = first_vertices()
    size = len(encode_vertex(true.vertices[0]))
    sync = syncing(A, target=10, response_bytes_max=2 * (size + bytes_max), vertex_requests_max=1)
    certify(sync)
    ((peer, request),) = ((p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices))
    sync.on_vertices(peer, replace(true, number=request.number, vertices=true.vertices[:1]), 0)
    assert (sync.requests(0) == []) is pauses


def test_an_unanswered_request_goes_to_another_peer() -> None:
    sync = syncing(A, B, ranges_max=1)
    ((peer, request),) = sync.requests(0)
    assert peer == A
    assert sync.wake_at_ms == 4000
    assert sync.requests(3999) == []
    assert ranges(sync.requests(4000)) == [(B, 1, 10)]
    assert sync.expects(A, request.number)
    assert sync.on_commits(A, answer(request), 4001) == ()  # too late, no fault
    assert fault(sync.on_commits, A, answer(request), 4002) == SyncFault.UNSOLICITED


def test_vertices_that_do_not_come_are_asked_of_another_peer() -> None:
    sync = syncing(A, B, target=10, vertex_requests_max=1, refs_per_request=5)
    certify(sync)
    asked = []
    for now_ms in (0, 4000):
        asked += [(p, r.refs) for p, r in sync.requests(now_ms) if isinstance(r, GetVertices)]
    assert [peer for peer, _ in asked] == [A, B]
    assert asked[0][1] == asked[1][1]


def test_while_nobody_answers_in_time_all_get_more_of_it() -> None:
    sync = syncing(A, B, ranges_max=1, pause_ms=1, pause_max_ms=1)
    waits, now_ms = [], 0
    for _ in range(8):
        ((peer, request),) = sync.requests(now_ms)
        assert sync.requests(now_ms + 1) == []
        assert sync.wake_at_ms is not None
        waits.append(sync.wake_at_ms - now_ms)
        now_ms = sync.wake_at_ms
    assert waits == [4000, 4000, 8000, 8000, 16000, 16000, 32000, 32000]
    ((peer, request),) = sync.requests(now_ms)
    sync.on_commits(peer, answer(request), now_ms)
    sync.on_votes_verified(request.number, True, now_ms)
    sync.requests(now_ms)
    sync.requests(now_ms + 1)
    assert sync.wake_at_ms == now_ms + 4000


def test_a_peer_that_is_gone_is_not_waited_for() -> None:
    sync = syncing(A, B, ranges_max=1)
    sync.requests(0)
    sync.set_peers((B,), 10)
    assert ranges(sync.requests(10)) == [(B, 1, 10)]


def test_peers_known_to_have_the_commits_come_first() -> None:
    sync = CommitSync(RULES, 0, ORIGIN, limits=LIMITS)
    sync.set_peers((A, B, C), 0)
    sync.set_target(30, 0)
    sync.peer_index(C, 30)
    sync.peer_index(B, 10)
    assert ranges(sync.requests(0)) == [(B, 1, 10), (C, 11, 20)]


def test_who_fails_pauses_ever_longer() -> None:
    sync = syncing(A, ranges_max=1)
    times = []
    for now_ms in range(0, 200_000, 100):
        for peer, request in sync.requests(now_ms):
            times.append(now_ms)
            sync.on_commits(peer, Commits(request.number, (), ()), now_ms)
    gaps = [times[i + 1] - times[i] for i in range(len(times) - 1)]
    assert gaps[:7] == [500, 1000, 2000, 4000, 8000, 16000, 30000]
    assert set(gaps[6:]) == {30000}


def none(sync: CommitSync, request: Request, peer: Peer, now_ms: int) -> None:
    sync.on_commits(peer, Commits(request.number, (), ()), now_ms)


def test_liars_come_after_those_who_fail() -> None:
    sync = syncing(A, B, ranges_max=1)
    ((_, request),) = sync.requests(0)
    assert fault(sync.on_commits, A, replace(answer(request), votes=()), 0) == SyncFault.VOTE_STAKE
    for now_ms in (0, 500, 1500, 3500):
        ((peer, request),) = sync.requests(now_ms)
        assert peer == B
        none(sync, request, B, now_ms)
    assert ranges(sync.requests(3500)) == [(A, 1, 10)]


def test_a_liar_that_comes_back_still_comes_last() -> None:
    sync = syncing(A, B, ranges_max=1)
    ((_, request),) = sync.requests(0)
    assert fault(sync.on_commits, A, replace(answer(request), votes=()), 0) == SyncFault.VOTE_STAKE
    sync.set_peers((B,), 0)
    sync.set_peers((A, B), 0)
    assert sync.lies(A) == 1
    assert ranges(sync.requests(9000)) == [(B, 1, 10)]


def test_those_who_fail_come_after_others_until_they_deliver() -> None:
    sync = syncing(A, B, ranges_max=1)
    ((_, request),) = sync.requests(0)
    none(sync, request, A, 0)
    for _ in range(2):
        (peer, request), *_ = sync.requests(5000)
        assert peer == B
        sync.on_commits(B, answer(request), 5000)
        sync.on_votes_verified(request.number, True, 5000)


def test_a_full_answer_makes_good_for_failures() -> None:
    sync = syncing(A, ranges_max=1)
    ((_, request),) = sync.requests(0)
    none(sync, request, A, 0)
    ((_, request),) = sync.requests(500)
    sync.on_commits(A, answer(request), 500)
    sync.on_votes_verified(request.number, True, 500)
    (_, request), *_ = sync.requests(500)
    none(sync, request, A, 500)
    assert ranges(sync.requests(999)) == []
    assert ranges(sync.requests(1000)) == [(A, 11, 20)]


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


def test_less_than_a_batch_behind_gives_up_what_is_not_certified() -> None:
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


# False answers, one test for each code


def first_range(*peers: Peer, **more: Any) -> tuple[CommitSync, Peer, GetCommits, Commits]:
    """A sync with its first request, and the true answer."""
    sync = syncing(*(peers or (A,)), **{"ranges_max": 1, **more})
    ((peer, request),) = sync.requests(0)
    assert isinstance(request, GetCommits)
    return sync, peer, request, answer(request)


def check_refused(code: SyncFault, change: Callable[[Commits], Commits], **more: Any) -> None:
    """The changed answer is refused with this code, costs the peer its place, and the next one is asked."""
    sync, peer, _, true = first_range(A, B, **more)
    assert fault(sync.on_commits, peer, change(true), 0) == code
    assert (sync.lies(A), sync.lies(B)) == (1, 0)
    assert sync.held_bytes == 0
    assert ranges(sync.requests(0)) == [(B, 1, 10)]
    assert fault(sync.on_commits, peer, true, 0) == SyncFault.UNSOLICITED


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


def first_vertices() -> tuple[CommitSync, Peer, GetVertices, Vertices]:
    sync = syncing(A, B, target=10, vertex_requests_max=1)
    certify(sync)
    ((peer, request),) = ((p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices))
    return sync, peer, request, answer(request)


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


# Peers that lie


class Liar:
    """Answers as `kinds` say, one of them drawn for each request; None is silence."""

    def __init__(self, rng: Random, kinds: list[str], honest: Server) -> None:
        self.rng = rng
        self.kinds = kinds
        self.honest = honest
        self.false = server_of(FALSE)

    def answer(self, request: Request) -> Commits | Vertices | None:
        kind = self.rng.choice(self.kinds)
        if kind == "silent":
            return None
        if isinstance(request, GetCommits):
            return self.commits(kind, request)
        return self.vertices(kind, request)

    def commits(self, kind: str, request: GetCommits) -> Commits:
        true = self.honest.commits(request)
        false = self.false.commits(request)
        if kind == "empty":
            return Commits(request.number, (), ())
        if kind == "truncated":
            return self.honest.commits(replace(request, last=request.first))
        if kind == "too few votes":
            return replace(false, votes=false.votes[:1])
        if kind == "false chain":
            return false
        if kind == "false tail":
            return replace(true, commits=(*true.commits[:-1], *false.commits[-1:]))
        if kind == "wrong votes":
            return replace(true, votes=false.votes)
        if kind == "false commit":
            return forge(true)
        return replace(true, number=true.number + self.rng.choice([0, 0, 1]))

    def vertices(self, kind: str, request: GetVertices) -> Vertices:
        true = self.honest.vertices(request)
        if kind == "empty":
            return Vertices(request.number, ())
        if kind == "truncated":
            return replace(true, vertices=true.vertices[:1])
        if kind in ("false chain", "false tail", "false commit"):
            false = tuple(FALSE.vertices.values())[: len(request.refs)]
            return replace(true, vertices=false)
        if kind in ("too few votes", "wrong votes"):
            stripped = tuple(
                replace(v, payload=replace(EMPTY_PAYLOAD, root=v.payload.root)) for v in true.vertices
            )
            return replace(true, vertices=stripped)
        return true


KINDS = [
    "silent",
    "empty",
    "truncated",
    "too few votes",
    "false chain",
    "false tail",
    "wrong votes",
    "false commit",
]
KINDS += ["wrong number"]


def forge(true: Commits) -> Commits:
    """A self-consistent range that begins at our last commit, with votes that nobody signed."""
    commits: list[Commit] = []
    for commit in true.commits:
        previous = commits[-1].digest if commits else commit.prev_digest
        commits.append(replace(commit, prev_digest=previous, timestamp_ms=77))
    if not commits:
        return true
    vote = CommitVote(commits[-1].index, commits[-1].digest)
    votes = tuple(validator_vertex(author=a, commit_votes=(vote,), signed=False) for a in range(4))
    return replace(true, commits=tuple(commits), votes=votes)


class World:
    """A node that syncs with four peers in virtual time. Votes are valid if the true chain has them."""

    def __init__(self, seed: int, honest: int, kinds: list[str], target: int = 37, **limits: int) -> None:
        self.rng = Random(seed)
        server = server_of(SYNC, self.rng.choice([4 << 20, 20_000]))
        peers = [Peer(number) for number in range(4)]
        self.honest = set(self.rng.sample(peers, honest))
        self.servers: dict[Peer, Any] = {
            peer: server if peer in self.honest else Liar(Random(self.rng.random()), kinds, server)
            for peer in peers
        }
        self.rng.shuffle(peers)
        self.sync = CommitSync(RULES, 0, ORIGIN, limits=LIMITS._replace(**limits))
        self.sync.set_peers(peers, 0)
        self.sync.set_target(target, 0)
        for peer in peers:
            self.sync.peer_index(peer, target if peer in self.honest else 10**9)
        self.target = target
        self.events: list[tuple[int, int, Callable[[int], None]]] = []
        self.order = count()
        self.applied: list[CertifiedCommit] = []
        self.held_max = 0

    def at(self, time_ms: int, event: Callable[[int], None]) -> None:
        heapq.heappush(self.events, (time_ms, next(self.order), event))

    def run(self, end_ms: int) -> int:
        """Run until all is applied; the time that it took."""
        now_ms = 0
        while self.sync.is_active:
            for peer, request in self.sync.requests(now_ms):
                self.send(peer, request, now_ms)
            wake_ms = self.sync.wake_at_ms
            times = [
                time for time in (wake_ms, self.events[0][0] if self.events else None) if time is not None
            ]
            assert times, "nothing will ever happen"
            now_ms = max(now_ms, min(times))
            assert now_ms < end_ms, "it takes too long"
            while self.events and self.events[0][0] <= now_ms:
                heapq.heappop(self.events)[2](now_ms)
            for ready in self.sync.ready():
                self.applied.append(ready)
                self.sync.applied(ready.commit.index, ready.commit.digest)
            self.held_max = max(self.held_max, self.sync.held_bytes)
        return now_ms

    def send(self, peer: Peer, request: Request, now_ms: int) -> None:
        server = self.servers[peer]
        if isinstance(server, Liar):
            message = server.answer(request)
        elif isinstance(request, GetCommits):
            message = server.commits(request)
        else:
            message = server.vertices(request)
        if message is not None:
            self.at(now_ms + self.rng.randrange(5, 200), lambda at_ms: self.receive(peer, message, at_ms))

    def receive(self, peer: Peer, message: Commits | Vertices, now_ms: int) -> None:
        try:
            if isinstance(message, Vertices):
                self.sync.on_vertices(peer, message, now_ms)
                return
            votes = self.sync.on_commits(peer, message, now_ms)
        except PeerFault as error:
            assert peer not in self.honest, error
            return
        if votes:
            valid = all(SYNC.vertices.get(vote.ref) == vote for vote in votes)
            delay_ms = self.rng.randrange(50)
            self.at(
                now_ms + delay_ms, lambda at_ms: self.sync.on_votes_verified(message.number, valid, at_ms)
            )


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    honest=st.integers(1, 4),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
)
def test_liars_only_cost_time(seed: int, honest: int, kinds: list[str]) -> None:
    world = World(seed, honest, kinds, held_bytes_max=40_000, response_bytes_max=20_000)
    world.run(end_ms=300_000)
    indices = [ready.commit.index for ready in world.applied]
    assert indices == list(range(1, len(indices) + 1))
    assert len(indices) > 37 - LIMITS.batch
    for ready in world.applied:
        assert ready.commit == SYNC.commits[ready.commit.index - 1]
        assert ready.vertices == SYNC.of(ready.commit)
    assert all(world.sync.lies(peer) == 0 for peer in world.honest)


@pytest.mark.parametrize("kind", KINDS)
def test_three_liars_of_one_kind_cost_seconds(kind: str) -> None:
    took = [World(seed, 1, [kind]).run(end_ms=120_000) for seed in range(5)]
    assert max(took) < 60_000


def test_the_votes_of_the_newest_commits_need_not_be_there() -> None:
    world = World(1, 4, KINDS, target=40)
    world.run(end_ms=60_000)
    assert 40 - LIMITS.batch < world.applied[-1].commit.index <= 40 - VOTE_DELAY


def test_equal_inputs_make_equal_requests() -> None:
    def trace() -> list[tuple[Peer, int, tuple[AnyRef, ...] | int]]:
        sent: list[tuple[Peer, int, tuple[AnyRef, ...] | int]] = []
        world = World(7, 2, KINDS)
        send = world.send

        def record(peer: Peer, request: Request, now_ms: int) -> None:
            sent.append((peer, now_ms, request.refs if isinstance(request, GetVertices) else request.first))
            send(peer, request, now_ms)

        world.send = record  # type: ignore[method-assign]
        world.run(end_ms=300_000)
        return sent

    first: list[Any] = trace()
    assert first == trace()
    assert len(first) > 4
