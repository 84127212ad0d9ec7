"""Consensus engines without a host: made-up vertices, ports in memory, and a network in virtual time.

Signatures are mock ones and nobody verifies: what is under test here comes after that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vertices import CHAIN, EPOCH, zeros

from cherrydag import crypto
from cherrydag.committee import Committee, Member
from cherrydag.consensus.acceptance import Acceptance, Clock
from cherrydag.consensus.author import Identity
from cherrydag.consensus.door import Refusal
from cherrydag.consensus.effects import (
    Effect,
    Persist,
)
from cherrydag.consensus.engine import Engine
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.outbox import Outbox
from cherrydag.consensus.ports import SignMark
from cherrydag.consensus.timing import Timing
from cherrydag.dag.graph import Limits
from cherrydag.dag.window import Window
from cherrydag.payload import EMPTY_PAYLOAD, Payload
from cherrydag.refs import AnyRef, VertexRef
from cherrydag.storage.memory import MemoryStore
from cherrydag.verify import EpochRules
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

SEED = bytes(16)
PAYLOAD = zeros(1)
START_MS = 1_000_000


def rules_of(stakes: Sequence[int]) -> EpochRules:
    members = tuple(Member((1 + i).to_bytes(32, "little"), stake) for i, stake in enumerate(stakes))
    return EpochRules.of(CHAIN, Committee(EPOCH, members))


FOUR = rules_of([1, 1, 1, 1])


def issuer(number: int) -> bytes:
    return (1000 + number).to_bytes(32, "little")


class Forge:
    """Makes vertices of a committee, valid as far as engines look."""

    def __init__(self, rules: EpochRules = FOUR) -> None:
        self.rules = rules
        self.n = len(rules.committee)
        self.genesis = [VertexRef(0, author, digest) for author, digest in enumerate(rules.genesis)]

    def vertex(
        self, round_: int, author: int, parents: Iterable[ValidatorVertex | VertexRef], **fields: Any
    ) -> ValidatorVertex:
        """Ancestors in order of author, the author's own first; `variant` tells equivocations apart."""
        refs = [parent.ref if isinstance(parent, ValidatorVertex) else parent for parent in parents]
        variant = fields.pop("variant", 0)
        return ValidatorVertex(
            epoch=self.rules.committee.epoch,
            round=round_,
            author=author,
            timestamp_ms=fields.pop("timestamp_ms", START_MS),
            ancestors=tuple(sorted(refs, key=lambda ref: (ref.author != author, ref.author))),
            signature=bytes([variant]) * 64,
            **fields,
        )

    def first(self, author: int, **fields: Any) -> ValidatorVertex:
        """A vertex of round 1."""
        return self.vertex(1, author, self.genesis, **fields)

    def rounds(
        self, last: int, authors: Iterable[int] | None = None, **fields: Any
    ) -> list[list[ValidatorVertex]]:
        """Rounds 1..last, in each a vertex of each author that lists all of the round before."""
        chosen = list(range(self.n) if authors is None else authors)
        before: Sequence[ValidatorVertex | VertexRef] = self.genesis
        made = []
        for number in range(1, last + 1):
            row = [self.vertex(number, author, before, **fields) for author in chosen]
            made.append(row)
            before = row
        return made

    def operator(
        self, number: int, parents: Sequence[Vertex | AnyRef], seq: int = 0, **fields: Any
    ) -> OperatorVertex:
        refs = tuple(parent if isinstance(parent, tuple) else parent.ref for parent in parents)
        return OperatorVertex(
            epoch=self.rules.committee.epoch,
            issuer=issuer(number),
            seq=seq,
            anchor_round=max(ref[0] for ref in refs),
            timestamp_ms=fields.pop("timestamp_ms", START_MS),
            parents=refs,
            signature=bytes([fields.pop("variant", 0)]) * 64,
            **fields,
        )


def flat(rows: Iterable[Iterable[Any]]) -> list[Any]:
    return [item for row in rows for item in row]


def of_type(effects: Iterable[Any], *kinds: type) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kinds)]


class MockSigner:
    def __init__(self, number: int) -> None:
        self.number = number

    def sign(self, digest: bytes) -> bytes:
        return crypto.hash_bytes(digest + bytes([self.number])) * 2


@dataclass
class Marks:
    """A sign state that is durable at once. A mark that does not rise fails the test."""

    marks: list[SignMark] = field(default_factory=list)

    def load(self) -> SignMark | None:
        return self.marks[-1] if self.marks else None

    def record(self, mark: SignMark) -> None:
        assert not self.marks or mark.round > self.marks[-1].round, (mark, self.marks[-1])
        self.marks.append(mark)


@dataclass
class Payloads:
    """A payload for each of `left` vertices."""

    left: int = 0

    def is_empty(self) -> bool:
        return not self.left

    def take(self, now_ms: int) -> Payload:
        if not self.left:
            return EMPTY_PAYLOAD
        self.left -= 1
        return PAYLOAD


ALWAYS = 10**9
CLOCK = Clock(START_MS, 10, False)


@dataclass
class Gate:
    """An acceptance with its window; `taken` are the vertices that have entered, in order."""

    timing: Timing = field(default_factory=Timing)
    limits: Limits | None = None
    taken: list[Vertex] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.window = Window([1] * 4, SEED, self.limits)
        self.outbox = Outbox()
        self.acceptance = Acceptance(self.window, self.timing, self.outbox)

    def give(self, *vertices: Vertex, source: int = 1, clock: Clock = CLOCK) -> list[Vertex]:
        """What has entered because of these."""
        found = [a.vertex for v in vertices for a in self.acceptance.offer(v, source, clock)]
        self.taken += found
        return found

    def refused(self) -> dict[Refusal, int]:
        """What was refused since the last call."""
        found = {code: count for code, count in self.acceptance.refused.items() if count}
        self.acceptance.refused |= dict.fromkeys(found, 0)
        return found

    def set_gc_round(self, gc_round: int) -> list[Vertex]:
        self.acceptance.settled(tuple(self.window.set_gc_round(gc_round)))
        return [a.vertex for a in self.acceptance.set_gc_round(gc_round)]

    def effects(self, kind: type[Any]) -> list[Any]:
        return of_type(self.outbox.take(), kind)


def gate_with(vertices: Iterable[Vertex], **settings: Any) -> Gate:
    gate = Gate(**settings)
    for vertex in vertices:
        assert gate.give(vertex) == [vertex]
    return gate


@dataclass
class Host:
    """One engine with its ports. It performs nothing by itself."""

    me: int | None
    rules: EpochRules = FOUR
    timing: Timing = field(default_factory=Timing)
    params: ChainParams = field(default_factory=ChainParams)
    payloads: Payloads = field(default_factory=Payloads)
    marks: Marks = field(default_factory=Marks)
    store: MemoryStore = field(default_factory=MemoryStore)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.boot()

    def boot(self) -> None:
        me = self.me
        identity = None if me is None else Identity(me, MockSigner(me), self.marks, self.payloads)
        self.engine = Engine(self.rules, self.params, self.timing, identity, self.store, SEED)

    def start(self, now_ms: int = START_MS, *, answered: bool = True, executed: int = 0) -> list[Effect]:
        """Start, and let a quorum answer that it knows of nothing."""
        effects = self.engine.start(now_ms, executed)
        if answered and self.me is not None:
            for peer in [peer for peer in range(len(self.rules.committee)) if peer != self.me]:
                effects += self.engine.on_newest((), peer, now_ms)
        return effects

    def give(self, vertices: Iterable[Vertex], now_ms: int = START_MS, source: int = 1) -> list[Effect]:
        return self.engine.on_vertices(list(vertices), source, now_ms)

    def save(self, effects: Iterable[Effect], now_ms: int = START_MS) -> list[Effect]:
        """Make durable what the effects want written, and what that brings; all effects together."""
        done: list[Effect] = []
        waiting = list(effects)
        while waiting:
            effect = waiting.pop(0)
            done.append(effect)
            if isinstance(effect, Persist):
                self.store.write(effect)
                self.store.sync()
                waiting += self.engine.on_persisted(effect.ticket, now_ms)
        return done


def changed(timing: Timing | None = None, **changes: int) -> Timing:
    return replace(timing or Timing(), **changes)
