from typing import Any

import pytest
from engine_nodes import Seat, blamed, seat_of, sends
from engines import START_MS, Forge, changed, flat, of_type
from vertices import digest

from cherrydag.consensus.effects import Broadcast, Persist, Relay
from cherrydag.gossip.effects import Penalise, Send, Verify
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.fetcher import FetchLimits
from cherrydag.gossip.messages import (
    Commits,
    GetCommits,
    GetNewest,
    GetVertices,
    Message,
    Newest,
    Push,
    Vertices,
)
from cherrydag.params import COMMIT_SYNC_BATCH, FETCH_REFS_MAX, PEER_OTHERS
from cherrydag.refs import VertexRef
from cherrydag.verify import VertexFault

FORGE = Forge()
ROWS = FORGE.rounds(6)
OTHERS = FORGE.rounds(300, authors=(1, 2, 3))


# Routing


def test_a_pushed_vertex_is_verified_then_enters() -> None:
    seat = seat_of(None, 1)
    [verify] = seat.node.on_message(1, Push(ROWS[0][1]), START_MS)
    assert verify == Verify(verify.job, (ROWS[0][1],))
    assert not seat.holds(ROWS[0][1])
    seat.perform([verify])
    assert seat.holds(ROWS[0][1])


def test_what_is_here_or_parked_is_not_verified_again() -> None:
    seat = seat_of(None, 1)
    seat.say(1, Push(ROWS[0][1]))
    seat.say(1, Push(ROWS[2][1]))
    assert seat.node.on_message(1, Push(ROWS[0][1]), START_MS) == []
    assert seat.node.on_message(2, Push(ROWS[2][1]), START_MS) == []


def test_a_vertex_under_verification_is_neither_verified_again_nor_fetched() -> None:
    seat = seat_of(None, 1, 2, 3)
    slow = ROWS[0][3]
    [verify] = seat.node.on_message(3, Push(slow), START_MS)
    assert seat.node.on_message(2, Push(slow), START_MS) == []
    for vertex in ROWS[0][:3]:
        seat.say(1, Push(vertex))
    child = ROWS[1][0]
    assert sends(seat.say(1, Push(child)), GetVertices) == []
    assert child.digest in seat.node.engine.acceptance.pending
    seat.perform([verify])
    assert seat.holds(slow) and seat.holds(child)
    assert len(seat.node.fetcher) == 0


def test_an_answer_that_a_push_overtook_is_not_verified() -> None:
    seat = seat_of(None, 1, 2, 3)
    [(_, ask)] = sends(seat.say(2, Push(ROWS[1][0])), GetVertices)
    [verify] = seat.node.on_message(3, Push(ROWS[0][3]), START_MS)
    [other] = of_type(seat.node.on_message(2, Vertices(ask.number, tuple(ROWS[0])), START_MS), Verify)
    assert other.vertices == tuple(ROWS[0][:3])
    seat.perform([other])
    assert not seat.holds(ROWS[1][0])
    seat.perform([verify])
    assert seat.holds(ROWS[1][0])
    assert len(seat.node.fetcher) == 0


def test_behind_a_spoilt_payload_a_copy_is_verified_and_the_vertex_wanted_again() -> None:
    seat = seat_of(None, 1, 2, 3)
    spoilt = FORGE.first(3, variant=0xFE)
    child = FORGE.vertex(2, 0, [*ROWS[0][:3], spoilt])
    [first] = seat.node.on_message(1, Push(spoilt), START_MS)
    seat.node.on_message(2, Push(spoilt), START_MS)
    [(_, ask)] = sends(seat.say(3, Push(child)), GetVertices)
    assert set(ask.refs) == {vertex.ref for vertex in ROWS[0][:3]}
    effects = seat.node.on_verified(first.job, [VertexFault.PAYLOAD_ROOT], START_MS)
    [second] = of_type(effects, Verify)
    assert blamed(effects) == [(1, VertexFault.PAYLOAD_ROOT)]
    assert sends(effects, GetVertices) == []
    found = seat.node.on_verified(second.job, [VertexFault.PAYLOAD_ROOT], START_MS)
    assert blamed(found) == [(2, VertexFault.PAYLOAD_ROOT)]
    assert [(peer, ask.refs) for peer, ask in sends(found, GetVertices)] == [(3, (spoilt.ref,))]


def test_who_pushed_a_copy_of_an_invalid_vertex_is_penalised_too() -> None:
    seat = seat_of(None, 1, 2, 3)
    wrong = FORGE.first(3, variant=0xFF)
    [verify] = seat.node.on_message(1, Push(wrong), START_MS)
    seat.node.on_message(2, Push(wrong), START_MS)
    assert [peer for peer, _ in blamed(seat.perform([verify]))] == [1, 2]
    assert not seat.holds(wrong)


def test_so_many_pushes_of_one_peer_are_verified_at_once_and_no_more() -> None:
    seat = seat_of(None, 1, settings={"jobs_max": 2})
    jobs = flat(seat.node.on_message(1, Push(vertex), START_MS) for vertex in ROWS[0][:3])
    assert len(jobs) == 2
    assert len(seat.node.on_message(2, Push(ROWS[0][3]), START_MS)) == 1
    seat.perform(jobs[:1])
    assert len(seat.node.on_message(1, Push(ROWS[0][2]), START_MS)) == 1


def test_vertices_are_served() -> None:
    seat = seat_of(None, 1)
    for vertex in ROWS[0]:
        seat.say(1, Push(vertex))
    refs = (ROWS[0][2].ref, ROWS[1][0].ref, ROWS[0][0].ref)
    assert seat.say(2, GetVertices(7, refs)) == [Send(2, Vertices(7, (ROWS[0][2], ROWS[0][0])))]


def test_commits_are_served() -> None:
    seat = seat_of(None, 1)
    for vertex in flat(OTHERS[:12]):
        seat.say(1, Push(vertex))
    [(peer, answer)] = sends(seat.say(2, GetCommits(3, 1, 5)), Commits)
    assert (peer, answer.number, answer.commits) == (2, 3, ())


def test_an_authors_newest_is_served() -> None:
    seat = seat_of(None, 1)
    for vertex in flat(ROWS[:2]):
        seat.say(1, Push(vertex))
    assert seat.say(3, GetNewest(9, 2)) == [Send(3, Newest(9, 2, (ROWS[1][2],)))]


def test_our_own_newest_is_served_only_once_it_is_durable() -> None:
    seat = Seat(0)
    effects = seat.node.start(START_MS)
    for peer in (1, 2):
        effects += seat.node.on_connected(peer, START_MS)
    for peer, ask in sends(effects, GetNewest):
        effects += seat.node.on_message(peer, Newest(ask.number, 0, ()), START_MS)
    [persist] = of_type(effects, Persist)
    [(_, early)] = sends(seat.node.on_message(1, GetNewest(5, 0), START_MS), Newest)
    assert early.vertices == ()
    refs = tuple(vertex.ref for vertex in persist.vertices)
    [(_, early)] = sends(seat.node.on_message(1, GetVertices(6, refs), START_MS), Vertices)
    assert early.vertices == ()
    seat.perform([persist])
    assert sends(seat.say(1, GetNewest(8, 0)), Newest) == [(1, Newest(8, 0, persist.vertices))]


def test_an_operators_vertex_is_relayed_with_its_source() -> None:
    seat = seat_of(None, 1)
    for vertex in ROWS[0]:
        seat.say(1, Push(vertex))
    own, strange = FORGE.operator(1, ROWS[0][:2]), FORGE.operator(2, ROWS[0][:2])
    seat.node.set_issuer(own.issuer, 1, 5)
    seat.node.set_issuer(strange.issuer, 1, 5)
    [relay] = of_type(seat.perform(seat.node.submit_vertex(own, START_MS)), Relay)
    assert relay.vertex == own
    assert seat.say(70_000, Push(strange)) == [Relay(strange, 70_000)]


def test_what_we_have_issued_is_durable_before_it_is_relayed() -> None:
    seat = seat_of(None, 1)
    for vertex in ROWS[0]:
        seat.say(1, Push(vertex))
    own = FORGE.operator(1, ROWS[0][:2])
    seat.node.set_issuer(own.issuer, 1, 5)
    effects = seat.node.submit_vertex(own, START_MS)
    assert of_type(effects, Relay) == []
    [persist] = of_type(effects, Persist)
    assert persist.vertices[-1] == own


# Penalties


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (Vertices(99, ()), SyncFault.UNSOLICITED),
        (Commits(99, (), ()), SyncFault.UNSOLICITED),
        (Newest(99, 0, ()), SyncFault.UNSOLICITED),
        (GetVertices(1, (ROWS[0][0].ref,) * (FETCH_REFS_MAX + 1)), SyncFault.REQUEST_REFS),
        (GetVertices(1, (VertexRef(1, 4, digest(1)),)), SyncFault.REQUEST_AUTHOR),
        (GetNewest(1, 4), SyncFault.REQUEST_AUTHOR),
        (GetCommits(1, 0, 5), SyncFault.REQUEST_RANGE),
        (GetCommits(1, 1, COMMIT_SYNC_BATCH + 1), SyncFault.REQUEST_RANGE),
        (Push(FORGE.first(2, variant=0xFF)), VertexFault.SIGNATURE),
        (Push(FORGE.first(2, variant=0xFE)), VertexFault.PAYLOAD_ROOT),
    ],
)
def test_who_breaks_a_rule_is_penalised(message: Message, code: str) -> None:
    seat = seat_of(0, 1, 2, 3)
    effects = seat.say(2, message)
    assert blamed(effects) == [(2, code)]
    assert of_type(effects, Penalise)[0].reason
    assert sends(effects, Vertices) == sends(effects, Commits) == sends(effects, Newest) == []


def test_an_answer_with_what_was_not_asked_for_is_penalised() -> None:
    seat = seat_of(0, 1, 2, 3)
    [number] = [ask.number for peer, ask in sends(seat.done, GetNewest) if peer == 2]
    assert blamed(seat.say(2, Newest(number, 0, (ROWS[0][1],)))) == [(2, SyncFault.NOT_ASKED)]
    asks = sends(seat.say(1, Push(ROWS[1][1])), GetVertices)
    [(peer, ask)] = asks
    assert (peer, set(ask.refs)) == (1, {vertex.ref for vertex in ROWS[0]})
    assert blamed(seat.say(1, Vertices(ask.number, (ROWS[2][0],)))) == [(1, SyncFault.NOT_ASKED)]


# Fetch


def test_missing_parents_are_fetched_and_their_children_enter() -> None:
    seat = seat_of(None, 1, 2, 3)
    [(peer, ask)] = sends(seat.say(2, Push(ROWS[1][0])), GetVertices)
    assert (peer, set(ask.refs)) == (2, {vertex.ref for vertex in ROWS[0]})
    seat.say(2, Vertices(ask.number, tuple(ROWS[0])))
    assert seat.holds(ROWS[1][0])
    assert len(seat.node.fetcher) == 0


def test_a_fetch_goes_on_with_others_until_all_is_there() -> None:
    seat = seat_of(None, 1, 2, 3)
    [(_, ask)] = sends(seat.say(2, Push(ROWS[3][0])), GetVertices)
    known = {vertex.ref: vertex for vertex in flat(ROWS)}
    asks, asked = [(2, ask)], {2}
    for _ in range(60):
        more: list[Any] = []
        for peer, request in asks:
            asked.add(peer)
            # The second peer has nothing below round 3.
            found = [known[ref] for ref in request.refs if peer != 2 or ref.round == 3]
            more += seat.say(peer, Vertices(request.number, tuple(found)))
        more += seat.tick(500)
        asks = sends(more, GetVertices)
        if seat.holds(ROWS[3][0]):
            break
    assert seat.holds(ROWS[3][0])
    assert asked >= {2}
    assert len(asked) > 1
    assert blamed(seat.done) == []


def test_an_invalid_vertex_is_fetched_no_more_but_one_with_a_spoilt_payload_is() -> None:
    for variant, left in ((0xFF, 3), (0xFE, 4)):
        seat = seat_of(None, 1, 2, 3)
        wrong = FORGE.first(3, variant=variant)
        child = FORGE.vertex(2, 0, [*ROWS[0][:3], wrong])
        [(_, ask)] = sends(seat.say(2, Push(child)), GetVertices)
        assert blamed(seat.say(2, Vertices(ask.number, (wrong,))))[0][0] == 2
        assert len(seat.node.fetcher) == left


def test_what_came_in_the_same_answer_is_not_fetched_again() -> None:
    seat = seat_of(None, 1, 2, 3)
    [(_, ask)] = sends(seat.say(2, Push(ROWS[2][0])), GetVertices)
    effects = seat.say(2, Vertices(ask.number, (ROWS[1][0], *ROWS[1][1:])))
    [(_, ask)] = sends(effects, GetVertices)
    assert set(ask.refs) == {vertex.ref for vertex in ROWS[0]}


def test_parents_that_nobody_brought_are_asked_for_again() -> None:
    """A parent that was parked and then evicted is wanted by nobody but its children."""
    seat = seat_of(None, 1, 2, 3, timing=changed(pending_peer_max=1))
    parent = ROWS[2][0]
    seat.say(3, Push(parent))
    seat.say(2, Push(FORGE.vertex(4, 1, [ROWS[2][1], parent, ROWS[2][2]])))
    seat.say(3, Push(ROWS[1][3]))
    assert parent.digest not in seat.node.engine.acceptance.pending
    asked = set()
    for _ in range(20):
        wake_ms = seat.node.wake_at_ms
        assert wake_ms is not None
        effects = seat.tick(max(0, wake_ms - seat.now_ms))
        asked |= {ref for _, ask in sends(effects, GetVertices) for ref in ask.refs}
    assert parent.ref in asked


def test_parents_that_the_fetcher_had_no_room_for_are_asked_for_later() -> None:
    seat = seat_of(None, 1, 2, 3, settings={"fetch": FetchLimits(source_max=1)})
    seat.say(2, Push(ROWS[1][0]))
    known = {vertex.ref: vertex for vertex in ROWS[0]}
    for _ in range(40):
        wake_ms = seat.node.wake_at_ms
        if wake_ms is None:
            break
        for peer, ask in sends(seat.tick(max(0, wake_ms - seat.now_ms)), GetVertices):
            seat.say(peer, Vertices(ask.number, tuple(known[ref] for ref in ask.refs)))
    first = sends(seat.done, GetVertices)[0]
    seat.say(first[0], Vertices(first[1].number, tuple(known[ref] for ref in first[1].refs)))
    for _ in range(40):
        for peer, ask in sends(seat.tick(500), GetVertices):
            seat.say(peer, Vertices(ask.number, tuple(known[ref] for ref in ask.refs)))
    assert seat.holds(ROWS[1][0])


def test_requests_to_who_is_gone_go_to_others() -> None:
    seat = seat_of(None, 1, 2, 3, settings={"fetch": FetchLimits(peers_per_vertex=1)})
    seat.say(2, Push(ROWS[1][0]))
    effects = seat.tick(500)
    assert sends(effects, GetVertices) == []
    effects = seat.perform(seat.node.on_disconnected(2, seat.now_ms)) + seat.tick(500)
    asks = sends(effects, GetVertices)
    assert asks
    assert all(peer != 2 for peer, _ in asks)


# Our past


def test_validators_are_asked_for_our_newest_vertex_as_they_connect() -> None:
    seat = Seat(0).start()
    assert sends(seat.done, GetNewest) == []
    effects = seat.perform(seat.node.on_connected(2, START_MS))
    effects += seat.perform(seat.node.on_connected(PEER_OTHERS + 5, START_MS))
    assert [(peer, ask.author) for peer, ask in sends(effects, GetNewest)] == [(2, 0)]


def answers(seat: Seat) -> dict[int, int]:
    """The number of the last question to each peer."""
    return {peer: ask.number for peer, ask in sends(seat.done, GetNewest)}


def test_answers_of_a_quorum_set_us_going_above_what_they_know() -> None:
    seat = seat_of(0, 1, 2, 3)
    numbers = answers(seat)
    lost = FORGE.vertex(2, 0, ROWS[0])
    seat.say(1, Newest(numbers[1], 0, (lost,)))
    assert not seat.node.engine.is_recovered
    seat.say(2, Newest(numbers[2], 0, ()))
    assert seat.node.engine.is_recovered
    for vertex in flat(OTHERS[:3]):
        seat.say(1, Push(vertex))
    assert [b.vertex.round for b in of_type(seat.done, Broadcast)] == [3]


def test_a_peer_cannot_answer_in_anothers_name() -> None:
    seat = seat_of(0, 1, 2, 3)
    numbers = answers(seat)
    assert blamed(seat.say(3, Newest(numbers[1], 0, ()))) == [(3, SyncFault.UNSOLICITED)]
    for peer in (1, 2):
        assert blamed(seat.say(peer, Newest(numbers[peer], 0, ()))) == []
    assert seat.node.engine.is_recovered


def test_an_answer_counts_once() -> None:
    seat = seat_of(0, 1, 2, 3)
    number = answers(seat)[1]
    seat.say(1, Newest(number, 0, ()))
    assert blamed(seat.say(1, Newest(number, 0, ()))) == [(1, SyncFault.UNSOLICITED)]
    assert not seat.node.engine.is_recovered


def test_an_answer_slower_than_the_next_question_counts() -> None:
    seat = seat_of(0, 1, 2, 3)
    numbers = answers(seat)
    seat.tick(1000)
    assert answers(seat)[1] != numbers[1]
    for peer in (1, 2):
        assert blamed(seat.say(peer, Newest(numbers[peer], 0, ()))) == []
    assert seat.node.engine.is_recovered


def test_a_forged_vertex_of_ours_is_no_floor() -> None:
    seat = seat_of(0, 1, 2, 3)
    numbers = answers(seat)
    forged = FORGE.vertex(2, 0, ROWS[0], variant=0xFF)
    assert blamed(seat.say(1, Newest(numbers[1], 0, (forged,)))) == [(1, VertexFault.SIGNATURE)]
    seat.say(2, Newest(numbers[2], 0, ()))
    seat.say(3, Newest(numbers[3], 0, ()))
    assert [b.vertex.round for b in of_type(seat.done, Broadcast)] == [1]


# The moment


def test_the_wall_clock_judges_timestamps_and_no_timer() -> None:
    seat = seat_of(None, 1)
    seat.node.set_clock(10_000)
    ahead = FORGE.first(1, timestamp_ms=START_MS + 10_300)
    seat.say(1, Push(ahead))
    assert not seat.holds(ahead)
    assert seat.node.wake_at_ms == START_MS + 300
    seat.tick(300)
    assert seat.holds(ahead)
