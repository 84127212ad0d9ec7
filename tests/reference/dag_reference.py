"""The DAG's window in dicts and sets, by the definitions of the consensus document: slow and plain.

A vertex is known by its digest. Authors from OPERATOR up are operators.
"""

from dataclasses import dataclass, field

from blake3 import blake3

OPERATOR = 1 << 31
INSERTED, DUPLICATE, MISSING, STALE, FAR, FULL, INVALID = range(7)

Ref = tuple[bytes, int, int]
"""(digest, round, author)"""


def is_validator(author: int) -> bool:
    return author < OPERATOR


@dataclass
class Vertex:
    digest: bytes
    round: int
    author: int
    parents: list[Ref]
    children: list[bytes] = field(default_factory=list)
    committed: bool = False


class ReferenceDag:
    def __init__(self, stakes: list[int], rounds_max: int = 1 << 16, issuers_max: int = 1 << 16) -> None:
        self.stakes, self.rounds_max, self.issuers_max = stakes, rounds_max, issuers_max
        total = sum(stakes)
        self.quorum = total - (total - 1) // 3
        self.gc_round = 0
        self.tip_round = 0
        self.vertices: dict[bytes, Vertex] = {}
        self.quotas: dict[int, int] = {}

    def knows(self, author: int) -> bool:
        return author < len(self.stakes) or 0 <= author - OPERATOR < self.issuers_max

    def insert(self, ref: Ref, parents: list[Ref]) -> tuple[int, list[int]]:
        """(outcome, places of the missing parents)"""
        digest, round_, author = ref
        if not self.knows(author) or len(parents) > 264:
            return INVALID, []
        validators = [p[2] for p in parents if is_validator(p[2])]
        if is_validator(author) and len(set(validators)) < len(validators):
            return INVALID, []
        for parent in parents:
            too_high = parent[1] >= round_ if is_validator(author) else parent[1] > round_
            if too_high or parent[0] == digest or not self.knows(parent[2]):
                return INVALID, []
        if round_ <= self.gc_round:
            return STALE, []
        if round_ > self.gc_round + self.rounds_max:
            return FAR, []
        if digest in self.vertices:
            there = self.vertices[digest]
            return (DUPLICATE if (there.round, there.author) == (round_, author) else INVALID), []
        live = [(i, p) for i, p in enumerate(parents) if p[1] > self.gc_round]
        missing = [i for i, p in live if not self.has(p)]
        found = [p[0] for _, p in live if self.has(p)]
        if len(set(found)) < len(found):
            return INVALID, []
        if missing:
            return MISSING, missing
        self.vertices[digest] = Vertex(digest, round_, author, [p for _, p in live])
        for name in found:
            self.vertices[name].children.append(digest)
        return INSERTED, []

    def has(self, ref: Ref) -> bool:
        vertex = self.vertices.get(ref[0])
        return vertex is not None and (vertex.round, vertex.author) == ref[1:]

    def set_gc_round(self, gc_round: int) -> int:
        gone = [v.digest for v in self.vertices.values() if v.round <= gc_round]
        for digest in gone:
            del self.vertices[digest]
        for vertex in self.vertices.values():
            vertex.parents = [p for p in vertex.parents if p[1] > gc_round]
            vertex.children = [c for c in vertex.children if c in self.vertices]
        self.gc_round = gc_round
        return len(gone)

    def slot(self, round_: int, author: int) -> list[Vertex]:
        return [v for v in self.vertices.values() if (v.round, v.author) == (round_, author)]

    def round(self, round_: int) -> list[Vertex]:
        return [v for v in self.vertices.values() if v.round == round_ and is_validator(v.author)]

    def ancestors(self, vertex: Vertex) -> list[Vertex]:
        """Validators' vertices among the parents."""
        return [self.vertices[p[0]] for p in vertex.parents if is_validator(p[2])]

    def supported(self, vertex: Vertex, round_: int, author: int) -> bytes | None:
        """The vertex of slot (round_, author) that `vertex` supports: depth first, in listed order."""
        for ancestor in self.ancestors(vertex):
            if (ancestor.round, ancestor.author) == (round_, author):
                return ancestor.digest
            if ancestor.round <= round_:
                continue
            found = self.supported(ancestor, round_, author)
            if found is not None:
                return found
        return None

    def votes(self, x: Vertex) -> set[int]:
        return {v.author for v in self.round(x.round + 1) if self.supported(v, x.round, x.author) == x.digest}

    def blames(self, round_: int, author: int) -> set[int]:
        def blame(v: Vertex) -> bool:
            return all((a.round, a.author) != (round_, author) for a in self.ancestors(v))

        return {v.author for v in self.round(round_ + 1) if blame(v)}

    def certifies(self, by: Vertex, x: Vertex) -> bool:
        def votes(v: Vertex) -> bool:
            return v.round == x.round + 1 and self.supported(v, x.round, x.author) == x.digest

        return self.stake({v.author for v in self.ancestors(by) if votes(v)}) >= self.quorum

    def certificates(self, x: Vertex) -> set[int]:
        return {v.author for v in self.round(x.round + 2) if self.certifies(v, x)}

    def certified_in_past(self, anchor: Vertex, x: Vertex) -> bool:
        past = self.past(anchor, validators_only=True)
        return any(self.certifies(v, x) for v in self.round(x.round + 2) if v.digest in past)

    def stake(self, authors: set[int]) -> int:
        return sum(self.stakes[a] for a in authors)

    def past(self, vertex: Vertex, validators_only: bool = False) -> set[bytes]:
        """`vertex` and everything it reaches."""
        seen, waiting = {vertex.digest}, [vertex]
        while waiting:
            for digest, _, author in waiting.pop().parents:
                if digest not in seen and (is_validator(author) or not validators_only):
                    seen.add(digest)
                    waiting.append(self.vertices[digest])
        return seen

    def approval(self, vertex: Vertex) -> set[int]:
        validators = [v for v in self.vertices.values() if is_validator(v.author)]
        return {v.author for v in validators if vertex.digest in self.past(v)}

    def order(self, leader: Vertex, seed: bytes) -> list[bytes]:
        """Uncommitted past of the leader; each step takes the ready vertex with the lowest hash."""
        left, waiting = {leader.digest}, [leader]
        while waiting:
            for digest, _, _ in waiting.pop().parents:
                if digest not in left and not self.vertices[digest].committed:
                    left.add(digest)
                    waiting.append(self.vertices[digest])
        ordered = []
        while left:
            ready = [d for d in left if not any(p[0] in left for p in self.vertices[d].parents)]
            ordered.append(min(ready, key=lambda d: blake3(d, key=seed).digest()))
            left.remove(ordered[-1])
        return ordered

    def tips(self, operators_only: bool) -> set[bytes]:
        """What may be selected."""
        uncommitted: dict[int, int] = {}
        for v in self.vertices.values():
            uncommitted[v.author] = uncommitted.get(v.author, 0) + (not v.committed)

        def may(v: Vertex) -> bool:
            if v.children or v.committed or v.round < self.tip_round:
                return False
            if is_validator(v.author):
                return not operators_only
            return uncommitted[v.author] <= self.quotas.get(v.author - OPERATOR, 2**32 - 1)

        return {v.digest for v in self.vertices.values() if may(v)}
