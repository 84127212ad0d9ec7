"""An operator's own vertices: one for each seq, whatever crashes; fresh parents, a pace, a quota."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from engines import FOUR, START_MS, Forge, Marks, MockSigner, Payloads, flat, issuer, of_type, rules_of
from engines import Host as EngineHost

from cherrydag.consensus.effects import Persist, Relay
from cherrydag.consensus.issuing import SEQ_MAX, IssueTiming, Issuing, mark_of
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.ports import SignMark
from cherrydag.errors import ConfigError, InvariantViolation
from cherrydag.params import PEER_SELF
from cherrydag.payload import EMPTY_PAYLOAD
from cherrydag.refs import OperatorRef
from cherrydag.storage.memory import MemoryStore
from cherrydag.verify import EpochRules, verify_vertex
from cherrydag.vertex import OperatorVertex

FORGE = Forge()
ME = issuer(1)
PACE = IssueTiming(linger_ms=10, batch_ms=100, resend_ms=2000)


@dataclass
class Desk:
    """An operator: engine, disk, mark, and what others have seen of it."""

    store: MemoryStore = field(default_factory=MemoryStore)
    marks: Marks = field(default_factory=Marks)
    timing: IssueTiming = PACE
    quota: int = 100
    waiting: int = 0
    now_ms: int = START_MS
    sent: list[OperatorVertex] = field(default_factory=list)
    params: ChainParams = field(default_factory=lambda: ChainParams(gc_depth=6))
    rules: EpochRules = FOUR

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        self.payloads = Payloads(self.waiting)
        self.host = EngineHost(None, self.rules, store=self.store, params=self.params)
        self.engine = self.host.engine
        self.engine.set_issuer(ME, 1, self.quota)
        self.pending: list[Any] = []
        mark = self.marks.load()
        timing = self.timing
        self.issuing = Issuing(self.rules, self.engine, ME, MockSigner(9), self.payloads, timing, mark)
        self.perform(self.engine.start(self.now_ms))
        recovered = self.issuing.recover(self.now_ms)
        if recovered is not None and (mark is None or mark.round < recovered.round):
            self.marks.record(recovered)
        self.issuing.quota = self.quota

    def perform(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                self.store.write(effect)
                self.pending.append(effect)
            elif isinstance(effect, Relay) and effect.vertex.issuer == ME:
                assert self.marks.load() is not None and self.marks.load().round > effect.vertex.seq
                self.sent.append(effect.vertex)

    def follow(self, rounds: list[Any]) -> None:
        self.perform(self.host.give(flat(rounds), self.now_ms))

    def make(self, after_ms: int = 1000) -> OperatorVertex | None:
        """Issue if it is time: into the window, not yet on the disk."""
        self.now_ms += after_ms
        vertex = self.issuing.make(self.now_ms)
        if vertex is None:
            return None
        verify_vertex(replace(vertex, payload=EMPTY_PAYLOAD), self.rules)
        self.perform(self.engine.on_vertices([vertex], PEER_SELF, self.now_ms))
        assert self.engine.window.get(vertex.digest) is vertex
        self.issuing.issued(vertex, self.now_ms)
        return vertex

    def sync(self) -> None:
        """Everything written is durable now."""
        self.store.sync()

    def mark(self) -> None:
        """As the host does it: after the write, before the node is told."""
        own = [v for e in self.pending for v in e.vertices if isinstance(v, OperatorVertex)]
        if own and (not self.marks.marks or self.marks.marks[-1].round < own[-1].seq + 1):
            self.marks.record(mark_of(own[-1]))

    def tell(self) -> None:
        """The node is told, and sends."""
        taken, self.pending = self.pending, []
        for effect in taken:
            self.perform(self.engine.on_persisted(effect.ticket, self.now_ms))

    def issue(self, after_ms: int = 1000) -> OperatorVertex:
        self.payloads.left += 1
        self.make(0)  # it begins to wait
        vertex = self.make(after_ms)
        assert vertex is not None
        self.sync(), self.mark(), self.tell()
        return vertex

    def crash(self, keep: int = 0, *, loses_data: bool = False) -> None:
        self.store = MemoryStore() if loses_data else self.store.crash(keep)
        self.boot()


def desk(rounds: int = 3, **fields: Any) -> Desk:
    made = Desk(**fields)
    made.follow(FORGE.rounds(rounds))
    return made


# Chain and parents


def test_each_vertex_stands_on_the_one_before_and_on_tips_of_others() -> None:
    operator = desk()
    first, second, third = (operator.issue() for _ in range(3))
    assert [vertex.seq for vertex in (first, second, third)] == [0, 1, 2]
    assert (second.parents[0], third.parents[0]) == (first.ref, second.ref)
    assert all(ref.round == 3 for ref in first.parents)
    assert operator.sent == [first, second, third]


@pytest.mark.parametrize("parents", [2, 3, 8])
def test_a_vertex_has_so_many_parents(parents: int) -> None:
    operator = desk(timing=IssueTiming(parents=parents))
    assert len(operator.issue().parents) == min(parents, 4)
    assert 2 <= len(operator.issue().parents) <= parents  # of tips there are few left


def test_nothing_is_issued_before_there_are_parents() -> None:
    operator = Desk()
    operator.payloads.left = 1
    assert operator.make(0) is None and operator.make() is None
    operator.follow(FORGE.rounds(1))
    assert operator.make() is not None


def test_a_lone_validator_whose_rounds_have_one_vertex_has_parents_enough() -> None:
    rules = rules_of([1])
    rounds = Forge(rules).rounds(3)
    operator = Desk(rules=rules)
    operator.payloads.left = 1
    operator.follow(rounds[:1])
    assert operator.make(0) is None and operator.make() is None  # nothing has two vertices yet
    operator.follow(rounds[1:])
    first = operator.make()
    assert first is not None and set(first.parents) == {rounds[2][0].ref, rounds[1][0].ref}
    operator.sync(), operator.mark(), operator.tell()
    assert operator.issue().parents[0] == first.ref


def test_a_vertex_is_anchored_near_the_clock_though_all_tips_are_old() -> None:
    operator = desk(2, timing=IssueTiming(parents=2))
    lone = [FORGE.operator(number, FORGE.rounds(1)[0][:2]) for number in range(2, 40)]
    for vertex in lone:
        operator.engine.set_issuer(vertex.issuer, 1, 5)
    operator.follow([lone])
    operator.follow(FORGE.rounds(6)[2:])
    for _ in range(4):
        assert operator.issue().anchor_round >= operator.engine.clock_round - 2


# Pace and quota


def test_vertices_wait_for_more_and_keep_their_distance() -> None:
    operator = desk()
    operator.payloads.left = 3
    assert operator.make(0) is None and operator.issuing.wake_ms == operator.now_ms + 10
    assert operator.make(9) is None
    assert operator.make(1) is not None
    operator.sync(), operator.mark(), operator.tell()
    assert operator.make(0) is None and operator.issuing.wake_ms == operator.now_ms + 100
    assert operator.make(99) is None
    assert operator.make(1) is not None


def test_no_vertex_is_made_while_one_is_not_sent() -> None:
    operator = desk()
    operator.payloads.left = 2
    operator.make(0)
    assert operator.make() is not None
    assert operator.make() is None and operator.make() is None
    operator.sync(), operator.mark(), operator.tell()
    assert operator.make(0) is not None


@pytest.mark.parametrize("quota", [0, 1, 3])
def test_no_more_are_uncommitted_than_the_quota(quota: int) -> None:
    operator = desk(quota=max(1, quota))
    operator.issuing.quota = quota
    made = [operator.issue() for _ in range(quota)]
    operator.payloads.left = 1
    assert operator.make(0) is None and operator.make() is None
    assert operator.issuing.uncommitted == quota
    if made:
        operator.issuing.settled(made[:1])
        operator.engine.acceptance.settled(tuple(made[:1]))
        assert operator.make() is not None


def test_with_nothing_to_carry_nothing_is_made() -> None:
    operator = desk()
    assert operator.make() is None and operator.issuing.wake_ms is None


def test_what_stays_uncommitted_is_sent_again_in_turn() -> None:
    operator = desk()
    first, second = operator.issue(), operator.issue(100)
    overdue = operator.issuing.overdue
    at_ms = operator.now_ms
    assert overdue(at_ms + 1899) is None
    assert overdue(at_ms + 2000) is first and overdue(at_ms + 2000) is second
    assert overdue(at_ms + 2000) is None and overdue(at_ms + 4000) is first
    operator.issuing.settled([first, second])
    assert overdue(at_ms + 9000) is None


@pytest.mark.parametrize(("seq", "fine"), [(SEQ_MAX - 1, True), (SEQ_MAX, True), (SEQ_MAX + 1, False)])
def test_seqs_end(seq: int, fine: bool) -> None:
    operator = Desk(marks=Marks([SignMark(seq, b"\x05" * 32)]))
    operator.follow(FORGE.rounds(2))
    operator.payloads.left = 1
    operator.make(0)
    assert (operator.make() is not None) == fine


@pytest.mark.parametrize("fields", [{"linger_ms": -1}, {"batch_ms": -1}, {"parents": 1}, {"parents": 9}])
def test_settings_out_of_range_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        IssueTiming(**fields)


def test_a_vertex_that_our_own_node_refuses_leaves_its_seq_out() -> None:
    operator = desk()
    operator.payloads.left = 3
    operator.make(0)
    operator.now_ms += 1000
    refused = operator.issuing.make(operator.now_ms)
    assert refused is not None and refused.seq == 0
    operator.issuing.refused(refused, operator.now_ms)
    assert operator.make(99) is None  # and it is not tried again at once
    vertex = operator.make(1)
    assert vertex is not None and vertex.seq == 1
    assert vertex.parents[0] == OperatorRef(0, ME, refused.digest)
    operator.sync(), operator.mark(), operator.tell()
    assert operator.sent == [vertex]


@pytest.mark.parametrize("offset_ms", [-5000, 0, 1, 77_777])
def test_a_vertex_bears_the_time_by_which_its_node_judges_it(offset_ms: int) -> None:
    operator = desk()
    operator.engine.wall_offset_ms = offset_ms
    assert operator.issue().timestamp_ms == operator.now_ms + offset_ms


# Crashes


def test_a_vertex_that_was_never_durable_leaves_its_seq_free() -> None:
    operator = desk()
    operator.payloads.left = 1
    operator.make(0)
    assert operator.make() is not None
    operator.crash()
    assert operator.marks.marks == [] and operator.sent == []
    operator.follow(FORGE.rounds(3))
    assert operator.issue().seq == 0


def test_a_vertex_that_is_durable_but_not_marked_is_marked_at_the_start_and_sent_again() -> None:
    operator = desk()
    operator.payloads.left = 1
    operator.make(0)
    vertex = operator.make()
    operator.sync()
    operator.crash()
    assert vertex is not None and operator.marks.marks == [mark_of(vertex)]
    assert operator.issuing.next_seq == 1 and operator.issuing.uncommitted == 1
    assert operator.issuing.overdue(operator.now_ms) == vertex
    following = operator.issue()
    assert following.seq == 1 and following.parents[0] == vertex.ref


def test_who_has_lost_all_data_goes_on_above_the_mark_on_a_parent_that_nobody_needs() -> None:
    operator = desk()
    last = [operator.issue() for _ in range(3)][-1]
    operator.crash(loses_data=True)
    operator.follow(FORGE.rounds(3))
    vertex = operator.issue()
    assert vertex.seq == 3 and vertex.parents[0] == OperatorRef(0, ME, last.digest)
    other = EngineHost(None)  # somebody who knows none of the earlier ones
    other.start()
    other.engine.set_issuer(ME, 1, 9)
    other.give(flat(FORGE.rounds(3)))
    relayed = of_type(other.give([vertex], operator.now_ms), Relay)
    assert [relay.vertex for relay in relayed] == [vertex]


def test_what_is_committed_does_not_count_after_a_restart() -> None:
    operator = desk(2)
    vertex = operator.issue()
    rows = FORGE.rounds(2)
    for number in range(3, 9):
        tips = {"tips": (vertex.ref,)} if number == 4 else {}
        rows.append([FORGE.vertex(number, author, rows[-1], **tips) for author in range(4)])
    operator.follow(rows[2:])
    assert operator.engine.window.is_committed(vertex.digest)
    operator.sync(), operator.mark(), operator.tell()
    operator.crash()
    assert operator.issuing.next_seq == 1 and operator.issuing.uncommitted == 0


@pytest.mark.parametrize("seed", range(40))
def test_no_two_vertices_that_others_have_seen_have_one_seq(seed: int) -> None:
    """Crashes between any two steps, torn writes, lost data; the mark alone is never lost."""
    chance = random.Random(seed)
    operator = desk(2)
    height = 2
    for _ in range(60):
        step = chance.randrange(8)
        if step < 3:
            operator.payloads.left = 2
            operator.make(chance.choice((0, 50, 1000)))
        elif step == 3:
            height += 1
            operator.follow(FORGE.rounds(height))
        elif step < 6:
            operator.sync()
            if chance.randrange(4):
                operator.mark()
                if chance.randrange(4):
                    operator.tell()
        elif step == 6:
            operator.crash(chance.randrange(3), loses_data=chance.randrange(4) == 0)
            operator.follow(FORGE.rounds(height))
    seen: dict[int, bytes] = {}
    for vertex in operator.sent:
        assert seen.setdefault(vertex.seq, vertex.digest) == vertex.digest
    assert [vertex.seq for vertex in operator.sent] == sorted(vertex.seq for vertex in operator.sent)


def test_the_test_above_would_see_a_vertex_that_is_sent_unmarked() -> None:
    operator = desk()
    operator.payloads.left = 1
    operator.make(0)
    operator.make()
    operator.sync()
    with pytest.raises((AssertionError, InvariantViolation)):
        operator.tell()
