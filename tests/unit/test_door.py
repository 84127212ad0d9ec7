import pytest
from engines import Forge, Gate, changed, gate_with, issuer

from cherrydag.consensus.door import Refusal
from cherrydag.consensus.effects import Report
from cherrydag.dag.graph import Limits, Outcome
from cherrydag.vertex import ValidatorVertex, Vertex

FORGE = Forge()
ROWS = FORGE.rounds(4)


def twin(vertex: ValidatorVertex, variant: int = 1) -> ValidatorVertex:
    """Another vertex of the same slot."""
    return FORGE.vertex(vertex.round, vertex.author, vertex.ancestors, variant=variant)


def test_a_slot_is_taken_once() -> None:
    gate = gate_with(ROWS[0])
    assert gate.give(twin(ROWS[0][2])) == []
    assert gate.refused() == {Refusal.SLOT: 1}
    assert gate.window.slot(1, 2) == [ROWS[0][2]]


def test_a_seq_is_taken_once() -> None:
    gate = gate_with(ROWS[0])
    gate.acceptance.set_issuer(issuer(1), 5, 9)
    pair = [FORGE.operator(1, ROWS[0][:2], variant=variant) for variant in range(2)]
    assert gate.give(*pair) == pair[:1]
    assert gate.refused() == {Refusal.SEQ: 1}


def test_who_has_no_bond_issues_nothing() -> None:
    gate = gate_with(ROWS[0])
    first = FORGE.operator(1, ROWS[0][:2])
    assert gate.give(first) == []
    assert gate.refused() == {Refusal.UNBONDED: 1}
    gate.acceptance.set_issuer(issuer(1), 1, 9)
    assert gate.give(first) == [first]
    gate.acceptance.set_issuer(issuer(1), 0, 0)
    assert gate.give(FORGE.operator(1, [first, ROWS[0][1]], seq=1)) == []
    assert gate.refused() == {Refusal.UNBONDED: 1}


def test_an_issuer_has_so_many_uncommitted_vertices_and_no_more() -> None:
    gate = gate_with(ROWS[0])
    gate.acceptance.set_issuer(issuer(1), 1, 2)
    gate.acceptance.set_issuer(issuer(2), 1, 2)
    chain: list[Vertex] = []
    for seq in range(4):
        chain.append(FORGE.operator(1, [*chain[-1:], ROWS[0][0], ROWS[0][1]], seq=seq))
    assert gate.give(*chain[:2]) == chain[:2]
    assert gate.give(chain[2]) == []
    assert gate.refused() == {Refusal.QUOTA: 1}
    assert len(gate.give(FORGE.operator(2, ROWS[0][:2]))) == 1
    gate.acceptance.settled((chain[0],))
    assert gate.give(chain[2]) == [chain[2]]
    assert gate.give(chain[3]) == []
    assert gate.refused() == {Refusal.QUOTA: 1}


def test_the_last_quarter_of_the_window_is_for_validators() -> None:
    gate = Gate(limits=Limits(vertices=16))
    gate.acceptance.set_issuer(issuer(1), 1, 99)
    gate.give(*ROWS[0])
    made = [FORGE.operator(1, ROWS[0][:2], seq=seq) for seq in range(12)]
    assert gate.give(*made) == made[:9]
    assert (len(gate.window), gate.refused()) == (13, {Refusal.FULL: 3})
    assert gate.give(*ROWS[1]) == ROWS[1][:3]
    assert (len(gate.window), gate.refused()) == (16, {Refusal.FULL: 1})


def test_the_last_sixteenth_of_the_window_is_for_our_own_and_for_certified_commits() -> None:
    gate = Gate(limits=Limits(vertices=32))
    rows = FORGE.rounds(9)
    taken = [vertex for row in rows for vertex in row]
    assert gate.give(*taken) == taken[:31]
    assert gate.refused() == {Refusal.FULL: 5}
    assert gate.acceptance.restore(taken[31]) is Outcome.INSERTED
    assert gate.acceptance.restore(taken[32]) is Outcome.FULL


# Wanted vertices pass the door


def test_an_equivocation_enters_when_an_accepted_slot_s_vertex_refers_to_it() -> None:
    gate = gate_with(ROWS[0])
    second, third = twin(ROWS[0][3], 1), twin(ROWS[0][3], 2)
    assert gate.give(second, third) == []
    child = FORGE.vertex(2, 0, [*ROWS[0][:3], second])
    assert gate.give(child) == []
    assert gate.give(third) == []
    assert gate.give(second) == [second, child]
    assert sorted(gate.window.slot(1, 3), key=_key) == sorted([ROWS[0][3], second], key=_key)


def test_an_operators_vertex_that_a_validator_lists_enters_whatever_its_issuers_bond_and_quota() -> None:
    gate = gate_with(ROWS[0])
    gate.acceptance.set_issuer(issuer(2), 1, 1)
    within, over = (FORGE.operator(2, ROWS[0][:2], seq=seq, variant=seq) for seq in range(2))
    again = FORGE.operator(2, ROWS[0][:2], variant=9)
    unbonded = FORGE.operator(1, ROWS[0][:2])
    assert gate.give(within, over, again, unbonded) == [within]
    assert gate.refused() == {Refusal.QUOTA: 1, Refusal.SEQ: 1, Refusal.UNBONDED: 1}
    lister = FORGE.vertex(2, 0, ROWS[0], tips=(over.ref, again.ref, unbonded.ref))
    gate.give(lister)
    assert gate.give(over, again, unbonded) == [over, again, unbonded, lister]


def test_equivocations_that_only_parked_ones_of_one_slot_refer_to_stay_out() -> None:
    """A parked vertex may never enter: what it refers to is not accepted for that."""
    gate = gate_with([*ROWS[0], *ROWS[1][:3]])
    parents = [FORGE.vertex(2, 3, ROWS[0], variant=10 + i) for i in range(20)]
    children = [FORGE.vertex(3, 3, [parent, *ROWS[1][:3]]) for parent in parents]
    gate.give(*children, source=3)
    gate.give(*parents, source=3)
    # One chain of it is what an honest node could have, and one more may have come before.
    assert len(gate.window.slot(2, 3)) + len(gate.window.slot(3, 3)) <= 4


@pytest.mark.parametrize("by_validator", [True, False])
def test_references_excuse_so_many_strangers_of_one_sponsor_and_no_more(
    monkeypatch: pytest.MonkeyPatch, by_validator: bool
) -> None:
    monkeypatch.setattr("cherrydag.consensus.door.SPONSORED_MAX", 5)
    gate = gate_with(ROWS[0])
    gate.acceptance.set_issuer(issuer(1), 1, 100)
    strangers = [FORGE.operator(100 + i, ROWS[0][:2]) for i in range(8)]
    if by_validator:
        never = FORGE.operator(99, ROWS[0][:2])
        gate.give(FORGE.vertex(2, 3, ROWS[0], tips=(never.ref, *(v.ref for v in strangers))))
    else:
        for seq, stranger in enumerate(strangers):
            gate.give(FORGE.operator(1, [stranger, ROWS[0][0]], seq=seq), source=70_000)
    for stranger in strangers:
        gate.give(stranger, source=70_000)
    assert [s for s in strangers if gate.window.get(s.digest)] == strangers[:5]
    assert gate.refused() == {Refusal.SPONSOR: 3}
    gate.acceptance.settled((strangers[0],))
    gate.give(strangers[5])
    assert gate.window.get(strangers[5].digest) is strangers[5]
    gate.give(strangers[6])
    assert gate.refused() == {Refusal.SPONSOR: 1}


def test_what_a_sponsors_parked_vertices_lead_to_is_charged_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cherrydag.consensus.door.SPONSORED_MAX", 2)
    gate = gate_with(ROWS[0])
    chain: list[Vertex] = []
    for number in range(4):
        chain.append(FORGE.operator(100 + number, [*chain[-1:], *ROWS[0][:2]]))
    gate.give(FORGE.vertex(2, 3, ROWS[0], tips=(chain[-1].ref,)))
    gate.give(*reversed(chain))
    assert [v for v in chain if gate.window.get(v.digest)] == chain[:2]
    other = FORGE.operator(200, ROWS[0][:2])
    gate.give(FORGE.vertex(2, 2, ROWS[0], tips=(other.ref,)), other)
    assert gate.window.get(other.digest) is other


def test_a_vertex_passes_if_one_of_its_sponsors_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who has no room left could keep out what others list, by referring to it before them."""
    monkeypatch.setattr("cherrydag.consensus.door.SPONSORED_MAX", 1)
    gate = gate_with(ROWS[0])
    junk, listed, never = (FORGE.operator(number, ROWS[0][:2]) for number in (1, 2, 3))
    liar = FORGE.vertex(2, 3, ROWS[0], tips=(junk.ref, listed.ref, never.ref))
    honest = FORGE.vertex(2, 0, ROWS[0], tips=(listed.ref,))
    gate.give(liar, junk, honest)
    assert gate.give(listed) == [listed, honest]


# Evidence


def test_evidence_is_reported_once_for_a_slot_also_for_a_refused_vertex() -> None:
    gate = gate_with(ROWS[0])
    second, third = twin(ROWS[0][2], 1), twin(ROWS[0][2], 2)
    gate.give(second)
    assert gate.effects(Report) == [Report(ROWS[0][2], second)]
    gate.give(third, second)
    gate.give(twin(ROWS[0][1]))
    assert gate.effects(Report) == [Report(ROWS[0][1], twin(ROWS[0][1]))]
    assert gate.acceptance.equivocated == {2: 1, 1: 1}


def test_evidence_is_reported_when_the_second_vertex_enters_because_it_is_wanted() -> None:
    gate = gate_with(ROWS[0])
    second = twin(ROWS[0][3])
    gate.give(FORGE.vertex(2, 0, [*ROWS[0][:3], second]))
    assert gate.effects(Report) == []
    gate.give(second)
    assert gate.effects(Report) == [Report(ROWS[0][3], second)]
    gate.give(second, twin(ROWS[0][3], 2))
    assert gate.effects(Report) == []


def test_evidence_is_reported_for_restored_vertices() -> None:
    gate = Gate()
    for vertex in (*ROWS[0], twin(ROWS[0][0])):
        assert gate.acceptance.restore(vertex) is Outcome.INSERTED
    assert gate.effects(Report) == [Report(ROWS[0][0], twin(ROWS[0][0]))]
    assert gate.acceptance.restore(ROWS[0][0]) is Outcome.DUPLICATE


def test_evidence_is_reported_once_for_a_seq_until_it_is_forgotten() -> None:
    gate = gate_with([*ROWS[0], *ROWS[1]])
    gate.acceptance.set_issuer(issuer(1), 1, 9)
    pair = [FORGE.operator(1, ROWS[0][:2], variant=variant) for variant in range(3)]
    gate.give(*pair)
    assert gate.effects(Report) == [Report(pair[0], pair[1])]
    gate.set_gc_round(1)
    later = FORGE.operator(1, ROWS[1][:2])
    assert gate.give(later) == [later]
    assert gate.effects(Report) == []
    other = FORGE.operator(1, ROWS[1][:2], variant=1)
    gate.give(other)
    assert gate.effects(Report) == [Report(later, other)]


def test_evidence_against_an_operator_whose_second_vertex_is_wanted() -> None:
    gate = gate_with(ROWS[0])
    first, second = (FORGE.operator(1, ROWS[0][:2], variant=variant) for variant in range(2))
    gate.give(FORGE.vertex(2, 0, ROWS[0], tips=(first.ref, second.ref)))
    gate.give(first, second)
    assert gate.effects(Report) == [Report(first, second)]


def test_a_parked_vertex_takes_its_slot() -> None:
    gate = gate_with(ROWS[0][:3])
    first, second = ROWS[1][0], FORGE.vertex(2, 0, ROWS[0][:3])
    gate.give(first)
    assert gate.give(second) == []
    assert gate.refused() == {Refusal.SLOT: 1}
    assert gate.give(ROWS[0][3]) == [ROWS[0][3], first]
    assert gate.give(second) == []


def test_a_slot_is_free_again_when_who_was_parked_there_is_evicted() -> None:
    gate = Gate(changed(pending_peer_max=1))
    first, second = ROWS[2][0], FORGE.vertex(3, 0, ROWS[1], variant=1)
    gate.give(first, ROWS[1][1], source=3)
    assert first.digest not in gate.acceptance.pending
    gate.give(second, source=2)
    assert second.digest in gate.acceptance.pending


def test_two_vertices_of_one_slot_are_evidence_though_the_first_is_only_parked() -> None:
    gate = gate_with(ROWS[0][:3])
    first, second = ROWS[1][0], FORGE.vertex(2, 0, ROWS[0][:3])
    gate.give(first, second)
    assert gate.effects(Report) == [Report(first, second)]


def _key(vertex: Vertex) -> bytes:
    return vertex.digest
