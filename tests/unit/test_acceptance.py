import pytest
from engines import START_MS, Forge, Gate, changed, gate_with, issuer

from cherrydag.codec import encode_vertex
from cherrydag.consensus.acceptance import Clock
from cherrydag.consensus.door import Refusal
from cherrydag.consensus.effects import Fetch, Report
from cherrydag.dag.graph import Outcome
from cherrydag.vertex import Vertex

FORGE = Forge()
ROWS = FORGE.rounds(12)

# Refusals


def test_what_is_in_the_window_or_parked_is_known() -> None:
    gate = gate_with(ROWS[0])
    assert gate.give(ROWS[0][0]) == []
    assert gate.refused() == {Refusal.KNOWN: 1}
    gate.give(ROWS[2][0])
    assert gate.refused() == {}
    gate.give(ROWS[2][0])
    assert gate.refused() == {Refusal.KNOWN: 1}


def test_at_gc_round_a_vertex_is_stale_and_above_it_is_not() -> None:
    gate = Gate()
    gate.set_gc_round(3)
    operator = FORGE.operator(1, ROWS[2][:2])
    assert gate.give(ROWS[1][0], ROWS[2][0], operator) == []
    assert gate.refused() == {Refusal.STALE: 3}
    assert gate.give(ROWS[3][0]) == [ROWS[3][0]]


def test_a_round_may_be_so_far_ahead_and_no_farther() -> None:
    for ahead, refused in ((4, {}), (5, {}), (6, {Refusal.FAR: 1})):
        gate = Gate(changed(round_ahead_max=5))
        gate.give(ROWS[ahead + 2 - 1][0], clock=Clock(START_MS, 2, False))
        assert gate.refused() == refused


def test_behind_a_quorum_nothing_above_the_clock_is_parked_unless_it_is_wanted() -> None:
    gate = gate_with(ROWS[0])
    behind = Clock(START_MS, 3, True)
    gate.give(ROWS[3][0], clock=Clock(START_MS, 3, False))
    assert gate.give(ROWS[4][0], clock=behind) == []
    assert gate.refused() == {Refusal.BEHIND: 1}
    gate.give(ROWS[2][0], clock=behind)
    assert ROWS[2][0].digest in gate.acceptance.pending
    low = Clock(START_MS, 0, True)
    gate.give(ROWS[2][1], clock=low)
    assert (gate.refused(), ROWS[2][1].digest in gate.acceptance.pending) == ({}, True)


def test_a_timestamp_may_lie_so_far_ahead_and_no_farther() -> None:
    gate = Gate(changed(future_ms=500))
    vertices = [
        FORGE.first(author, timestamp_ms=START_MS + ms) for author, ms in enumerate((0, 499, 500, 501))
    ]
    assert gate.give(*vertices) == [vertices[0]]
    assert gate.refused() == {Refusal.FUTURE: 1}
    assert gate.acceptance.due_ms == START_MS + 499


def test_what_something_parked_refers_to_is_taken_however_far_in_the_future() -> None:
    """Else a child that is due would wait for it for ever."""
    gate = Gate(changed(future_ms=500))
    parents = [FORGE.first(author, timestamp_ms=START_MS + (author == 3) * 10**9) for author in range(4)]
    child = FORGE.vertex(2, 0, [parents[0], parents[1], parents[3]])
    assert gate.give(*parents, child) == parents[:3]
    assert gate.refused() == {Refusal.FUTURE: 1}
    assert gate.give(parents[3]) == [parents[3], child]
    assert (gate.refused(), gate.acceptance.due_ms) == ({}, None)


def test_a_vertex_ahead_of_the_clock_enters_when_it_is_due() -> None:
    gate = Gate()
    early, later = (FORGE.first(author, timestamp_ms=START_MS + ms) for author, ms in enumerate((20, 30)))
    assert gate.give(later, early) == []
    assert [a.vertex for a in gate.acceptance.due(Clock(START_MS + 19, 0, False))] == []
    accepted = gate.acceptance.due(Clock(START_MS + 20, 0, False))
    assert [(a.vertex, a.source) for a in accepted] == [(early, 1)]
    assert gate.acceptance.due_ms == START_MS + 30
    assert [a.vertex for a in gate.acceptance.due(Clock(START_MS + 99, 0, False))] == [later]
    assert gate.acceptance.due_ms is None


def test_so_many_vertices_of_one_peer_wait_for_their_time_and_no_more() -> None:
    gate = Gate(changed(early_peer_max=3))
    ahead = [FORGE.first(2, timestamp_ms=START_MS + 10, variant=variant) for variant in range(6)]
    gate.give(*ahead[:3])
    assert gate.refused() == {}
    gate.give(ahead[3])
    assert gate.refused() == {Refusal.EARLY: 1}
    gate.give(ahead[4], source=2)
    assert gate.refused() == {}
    assert len(gate.acceptance.due(Clock(START_MS + 10, 0, False))) == 1
    gate.refused()
    gate.give(FORGE.first(3, timestamp_ms=START_MS + 30), clock=Clock(START_MS + 20, 0, False))
    assert gate.refused() == {}


def test_a_vertex_that_contradicts_the_window_is_refused() -> None:
    gate = Gate()
    wrong = FORGE.vertex(2, 0, [FORGE.first(0), FORGE.vertex(2, 1, FORGE.genesis)])
    assert gate.give(wrong) == []
    assert gate.refused() == {Refusal.INVALID: 1}


def test_every_refusal_has_its_test() -> None:
    tested = "known stale far behind future early slot seq unbonded quota sponsor full invalid evicted"
    assert sorted(Refusal) == sorted(tested.split())


# Parking


def test_children_enter_with_their_last_parent_in_order() -> None:
    gate = Gate()
    assert gate.give(*ROWS[2], *ROWS[1], *ROWS[0][:3]) == ROWS[0][:3]
    assert gate.give(ROWS[0][3]) == [ROWS[0][3], *sorted(ROWS[1], key=_key), *sorted(ROWS[2], key=_key)]
    assert len(gate.acceptance.pending) == 0


def test_missing_parents_are_fetched_from_who_sent_the_child_and_what_parked_ones_wait_for_too() -> None:
    """Who refers to a parked vertex has had its parents: the peer that brought it may never answer."""
    gate = gate_with(ROWS[0][:3])
    gate.give(ROWS[1][2], source=2)
    assert gate.effects(Fetch) == [Fetch((ROWS[0][3].ref,), 2)]
    gate.give(FORGE.vertex(3, 0, [ROWS[1][0], ROWS[1][1], ROWS[1][2]]), source=3)
    (fetch,) = gate.effects(Fetch)
    assert fetch.source == 3
    assert sorted(fetch.refs) == [ROWS[0][3].ref, ROWS[1][0].ref, ROWS[1][1].ref]


def test_a_chain_of_two_thousand_parked_vertices_is_released_without_recursion() -> None:
    gate = gate_with(ROWS[0])
    gate.acceptance.set_issuer(issuer(1), 1, 5000)
    chain: list[Vertex] = []
    for seq in range(2001):
        chain.append(FORGE.operator(1, [*chain[-1:], ROWS[0][0], ROWS[0][1]], seq=seq))
    assert gate.give(*reversed(chain[1:])) == []
    assert len(gate.acceptance.pending) == 2000
    assert gate.give(chain[0]) == chain


def test_what_waited_for_parents_below_gc_round_enters_when_that_rises() -> None:
    gate = Gate()
    gate.give(ROWS[2][1], ROWS[1][0], ROWS[3][2])
    gate.outbox.take()
    assert gate.set_gc_round(1) == [ROWS[1][0]]
    assert gate.set_gc_round(2) == [ROWS[2][1]]
    assert len(gate.acceptance.pending) == 1
    assert gate.set_gc_round(3) == [ROWS[3][2]]
    assert len(gate.acceptance.pending) == 0


def test_a_flooder_evicts_its_own_parked_vertices_alone() -> None:
    gate = Gate(changed(pending_peer_max=4, pending_max=100))
    gate.give(ROWS[9][0], ROWS[8][0], source=2)
    flood = [ROWS[number][3] for number in (6, 2, 4, 1, 3, 7, 5, 10, 8, 9)]
    for count, vertex in enumerate(flood, 1):
        gate.give(vertex, source=3)
        assert len(gate.acceptance.pending) == 2 + min(count, 4)
    assert [n for n in range(12) if ROWS[n][3].digest in gate.acceptance.pending] == [1, 2, 3, 4]
    assert gate.refused() == {Refusal.EVICTED: 6}
    assert all(row[0].digest in gate.acceptance.pending for row in (ROWS[9], ROWS[8]))


def test_a_full_table_keeps_what_is_nearest() -> None:
    gate = Gate(changed(pending_max=3))
    for source, number in enumerate((9, 4, 6, 5)):
        gate.give(ROWS[number][0], source=source)
    parked = [number for number in range(12) if ROWS[number][0].digest in gate.acceptance.pending]
    assert parked == [4, 5, 6]
    assert gate.refused() == {Refusal.EVICTED: 1}


@pytest.mark.parametrize(("room", "parked"), [(-1, 1), (0, 2), (1, 2)])
def test_what_is_parked_is_bounded_in_bytes_too(room: int, parked: int) -> None:
    two = [ROWS[4][0], ROWS[6][0]]
    size = sum(len(encode_vertex(vertex)) for vertex in two)
    for bound in ("pending_bytes_max", "pending_peer_bytes_max"):
        gate = Gate(changed(**{bound: size + room}))
        gate.give(*two, source=3)
        assert len(gate.acceptance.pending) == parked
        assert gate.acceptance.pending.size == (size if parked == 2 else len(encode_vertex(two[0])))


def test_the_bound_of_missing_parents_evicts_too() -> None:
    for most, parked in ((7, 1), (8, 2)):
        gate = Gate(changed(missing_max=most))
        gate.give(ROWS[1][0], ROWS[3][0])
        assert len(gate.acceptance.pending) == parked


def test_a_parent_that_was_evicted_is_told_of_for_the_child_that_waits_for_it() -> None:
    """Else nobody asks for it: while it was parked it was not fetched."""
    gate = Gate(changed(pending_peer_max=1))
    parent = ROWS[2][0]
    child = FORGE.vertex(4, 1, [ROWS[2][1], parent, ROWS[2][2]])
    gate.give(parent, source=3)
    gate.give(child, source=2)
    known = dict(gate.acceptance.unknown_parents(8))
    assert parent.ref not in known[2]
    assert known[3] == tuple(ref for ref in parent.ancestors)
    gate.give(ROWS[1][3], source=3)
    assert parent.digest not in gate.acceptance.pending
    assert dict(gate.acceptance.unknown_parents(8))[2] == (ROWS[2][1].ref, parent.ref, ROWS[2][2].ref)
    gate.give(*ROWS[0], *ROWS[1], *ROWS[2])
    assert gate.acceptance.unknown_parents(8) == []


def test_a_parked_vertex_that_a_certified_commit_brings_is_known() -> None:
    gate = gate_with(ROWS[0][:3])
    child, grandchild = ROWS[1][0], FORGE.vertex(3, 1, [ROWS[1][1], ROWS[1][0], ROWS[1][2]])
    gate.give(child, grandchild)
    for vertex in (ROWS[0][3], child, ROWS[1][1], ROWS[1][2]):
        assert gate.acceptance.restore(vertex) is Outcome.INSERTED
    released = [a.vertex for v in (ROWS[0][3], child, *ROWS[1][1:3]) for a in gate.acceptance.release(v)]
    assert released == [grandchild]
    assert gate.effects(Report) == []
    assert len(gate.acceptance.pending) == 0


def test_a_reference_that_does_not_match_waits_until_gc_and_harms_nobody() -> None:
    gate = gate_with(ROWS[0])
    bogus = ROWS[0][3].ref._replace(author=1)
    child = FORGE.vertex(2, 0, [ROWS[0][0], bogus, ROWS[0][2]])
    assert gate.give(child) == []
    assert gate.effects(Fetch) == [Fetch((bogus,), 1)]
    assert gate.give(ROWS[1][1]) == [ROWS[1][1]]
    assert gate.set_gc_round(1) == [child]


def _key(vertex: Vertex) -> bytes:
    return vertex.digest
