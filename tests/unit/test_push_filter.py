"""Which pushed vertices are worth a check of all their signatures."""

from dataclasses import replace
from itertools import count

import pytest
from engine_nodes import seat_of, sends
from engines import START_MS, Forge, Gate, of_type

from cherrydag.consensus.door import Refusal
from cherrydag.gossip.effects import Verify
from cherrydag.gossip.jobs import Jobs
from cherrydag.gossip.messages import GetVertices, Push
from cherrydag.gossip.push_filter import OrphanLimits, PushFilter
from cherrydag.params import PEER_OTHERS, RECORD_BYTES
from cherrydag.payload import EMPTY_ROOT, Payload
from cherrydag.transaction import as_records
from cherrydag.vertex import ValidatorVertex, Vertex

RECORDS = 20
SIZE = RECORDS * RECORD_BYTES
FAT = Payload(as_records(bytes(SIZE)), b"", None, EMPTY_ROOT)
FORGE = Forge()
ROWS = FORGE.rounds(4)
PLACES = 3
LIMITS = OrphanLimits(PLACES * SIZE, SIZE)


def orphan(number: int, **fields: object) -> ValidatorVertex:
    """One whose parents nobody has seen."""
    return FORGE.vertex(4, 0, ROWS[2], timestamp_ms=START_MS + number, **({"payload": FAT} | fields))


class Door:
    """A filter over an acceptance and the jobs of its node."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.jobs = Jobs(count(), 100)
        self.filter = PushFilter(self.gate.acceptance, self.jobs, LIMITS)

    def admits(self, *vertices: Vertex, peer: int = 1, now_ms: int = START_MS) -> list[bool]:
        return [self.filter.admits(peer, vertex, now_ms) for vertex in vertices]


def test_so_many_bytes_of_orphans_are_checked_and_then_so_many_a_second() -> None:
    door = Door()
    flood = [orphan(number) for number in range(6)]
    assert door.admits(*flood) == [True] * PLACES + [False] * 3
    assert door.gate.refused() == {Refusal.EVICTED: 3}
    assert door.admits(*flood, now_ms=START_MS + 999) == [False] * 6
    assert door.admits(*flood, now_ms=START_MS + 2000) == [True] * 2 + [False] * 4


def test_a_peer_has_only_its_own_credit_and_a_validator_that_comes_back_no_new_one() -> None:
    door = Door()
    flood = [orphan(number) for number in range(4)]
    for peer in (1, PEER_OTHERS):
        assert door.admits(*flood, peer=peer) == [True] * PLACES + [False]
        door.filter.gone(peer)
    assert door.admits(flood[3], peer=2) == [True]
    assert door.admits(flood[3], peer=1) == [False]
    assert door.admits(flood[3], peer=PEER_OTHERS) == [True]  # a number is nobody's twice


@pytest.mark.parametrize("kind", ["parents here", "below the window", "parents under way", "wanted", "small"])
def test_what_is_no_orphan_or_small_is_checked_and_costs_nothing(kind: str) -> None:
    door, chosen = Door(), orphan(9)
    if kind == "parents here":
        door.gate.give(*ROWS[0], *ROWS[1], *ROWS[2])
    elif kind == "below the window":
        door.gate.set_gc_round(3)
    elif kind == "parents under way":
        for vertex in ROWS[2]:
            door.jobs.open(2, Push(vertex), [vertex])
    elif kind == "wanted":
        door.gate.give(FORGE.vertex(5, 2, [chosen, *ROWS[3][1:]]))
    else:
        most = LIMITS.small_bytes // RECORD_BYTES
        chosen = orphan(9, payload=replace(FAT, records=FAT.records[:most]))
    assert door.admits(*[chosen] * 10) == [True] * 10
    bare = Door()
    assert bare.admits(*[orphan(number) for number in range(5)]) == [True] * PLACES + [False] * 2


def test_one_parent_that_is_not_here_makes_an_orphan() -> None:
    door = Door()
    door.gate.give(*ROWS[0], *ROWS[1], *ROWS[2][:3])
    assert door.admits(*[orphan(number) for number in range(4)]) == [True] * PLACES + [False]


def test_who_has_too_much_under_verification_is_not_heard() -> None:
    door = Door()
    door.filter = PushFilter(door.gate.acceptance, Jobs(count(), 0))
    assert door.admits(ROWS[0][0]) == [False]


def test_an_orphan_too_many_is_not_verified_and_fetched_once_something_refers_to_it() -> None:
    seat = seat_of(None, 1, 2)
    seat.node._filter = PushFilter(seat.node.engine.acceptance, seat.node._jobs, LIMITS)
    flood = [orphan(number) for number in range(PLACES + 1)]
    jobs = [bool(of_type(seat.node.on_message(1, Push(vertex), START_MS), Verify)) for vertex in flood]
    assert jobs == [True] * PLACES + [False]
    child = FORGE.vertex(5, 2, [flood[-1], *ROWS[3][1:]])
    asked = [ref for _, ask in sends(seat.say(2, Push(child)), GetVertices) for ref in ask.refs]
    assert flood[-1].ref in asked
