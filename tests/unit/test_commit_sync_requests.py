"""What commit sync asks for, of whom, and how much at once."""

from dataclasses import replace

import pytest
from sync_chain import ORIGIN
from sync_rig import LIMITS, SYNC, A, B, C, D, answer, certify, fault, first_vertices, none, ranges, syncing
from vertices import RULES

from cherrydag.codec import encode_vertex
from cherrydag.gossip.commit_sync import CommitSync
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import Commits, GetCommits, GetVertices
from cherrydag.refs import AnyRef

NEVER = 1_000_000


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


def test_vertices_are_asked_of_who_sent_the_commits_then_of_who_owes_least() -> None:
    sync = syncing(A, B, C, refs_per_request=5, ranges_max=1)
    certify(sync)
    vertex_requests = [(p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices)]
    assert [peer for peer, _ in vertex_requests] == [A, C, A, B]  # B was asked for commits
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
    assert asked == [(A, fitting), (B, fitting), (C, fitting), (A, fitting)]


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
    sync = syncing(A, B, ranges_max=1, hedge_ms=NEVER)
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
    sync = syncing(A, B, ranges_max=1, pause_ms=1, pause_max_ms=1, hedge_ms=NEVER)
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
