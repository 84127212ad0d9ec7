"""Checkers of vertices: who made them, what certifies them, what was durable, what became of them."""

from collections.abc import Iterable, Mapping

from cherrydag.committee import Committee
from cherrydag.consensus.effects import Persist
from cherrydag.primitives import Digest, PublicKey, Round
from cherrydag.refs import round_of
from cherrydag.sim.chain_checks import parents_of
from cherrydag.sim.violation import must
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex


class Slots:
    """I4: an honest author has one vertex a slot, and an honest operator one a seq, whatever crashes."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[tuple[int | PublicKey, int], Digest] = {}

    def made(self, vertex: Vertex) -> None:
        """An honest node lets this vertex of its own out."""
        if isinstance(vertex, ValidatorVertex):
            key: tuple[int | PublicKey, int] = (vertex.author, vertex.round)
        else:
            key = (vertex.issuer, vertex.seq)
        known = self._made.setdefault(key, vertex.digest)
        facts = {"author": key[0], "round_or_seq": key[1], "was": known, "now": vertex.digest}
        must(known == vertex.digest, "I4", "no honest slot has two vertices", **facts)


class Certificates:
    """I3: at most one vertex of a slot is certified, over all vertices that honest nodes have accepted.

    Only a slot with two vertices can break it, so only those are counted, at the end.
    """

    __slots__ = ("_committee", "_forked", "_rounds", "_slots")

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._rounds: dict[int, list[ValidatorVertex]] = {}
        self._slots: dict[tuple[int, int], list[Digest]] = {}
        self._forked: dict[tuple[int, int], None] = {}

    @property
    def forked(self) -> list[tuple[int, int]]:
        """Slots, as (round, author), with more than one vertex."""
        return list(self._forked)

    def note(self, vertex: ValidatorVertex) -> None:
        """A vertex of the world that was not known before."""
        self._rounds.setdefault(vertex.round, []).append(vertex)
        slot = self._slots.setdefault((vertex.round, vertex.author), [])
        slot.append(vertex.digest)
        if len(slot) > 1:
            self._forked[vertex.round, vertex.author] = None

    def check(self) -> None:
        """Count the certificates of each slot with more than one vertex."""
        for round_, author in self._forked:
            certified = [d for d in self._slots[round_, author] if self._is_certified(round_, d)]
            facts = {"round": round_, "author": author, "certified": len(certified)}
            must(len(certified) <= 1, "I3", "at most one vertex of a slot is certified", **facts)

    def _is_certified(self, round_: int, digest: Digest) -> bool:
        votes = {
            vertex.digest: vertex.author
            for vertex in self._rounds.get(round_ + 1, ())
            if any(ref.digest == digest for ref in vertex.ancestors)
        }
        for vertex in self._rounds.get(round_ + 2, ()):
            voters = [votes[ref.digest] for ref in vertex.ancestors if ref.digest in votes]
            if self._committee.stake_of(voters) >= self._committee.quorum:
                return True
        return False


class Durability:
    """I14: what an own vertex needs is durable before it leaves: itself, its parents, its commits."""

    __slots__ = ("_commits", "_vertices")

    def __init__(self) -> None:
        self._vertices: dict[int, set[Digest]] = {}
        self._commits: dict[int, int] = {}

    def start(self, seat: int, vertices: Iterable[Vertex], index: int) -> None:
        """A node starts with this in its store."""
        self._vertices[seat] = {vertex.digest for vertex in vertices}
        self._commits[seat] = index

    def durable(self, seat: int, write: Persist) -> None:
        """This write of a node is durable."""
        self._vertices.setdefault(seat, set()).update([vertex.digest for vertex in write.vertices])
        if write.commits:
            self._commits[seat] = write.commits[-1].index

    def sent(self, seat: int, vertex: Vertex, gc_round: Round) -> None:
        """The node sends a vertex of its own."""
        held = self._vertices.get(seat, set())
        must(
            vertex.digest in held, "I14", "a vertex is durable before it leaves", seat=seat, vertex=vertex.ref
        )
        for ref in parents_of(vertex):
            if ref.digest not in held and round_of(ref) > gc_round:
                facts = {"seat": seat, "vertex": vertex.ref, "parent": ref}
                must(False, "I14", "a vertex's parents are durable before it leaves", **facts)
        if isinstance(vertex, ValidatorVertex) and vertex.commit_votes:
            index, durable = vertex.commit_votes[-1].commit_index, self._commits.get(seat, 0)
            facts = {"seat": seat, "voted": index, "durable": durable}
            must(index <= durable, "I14", "a commit is durable before it is voted for", **facts)


class Submissions:
    """I12: what was submitted ends SEQUENCED or DROPPED at the node where it was, by the time it is below gc.

    A submission is a vertex with a payload: an operator's, or a validator's with what its clients brought.
    """

    __slots__ = ("_open", "dropped", "sequenced")

    def __init__(self) -> None:
        self._open: dict[int, dict[Digest, Round]] = {}
        self.sequenced = 0
        self.dropped = 0

    def submitted(self, seat: int, vertex: Vertex) -> None:
        """A node has made a vertex with a payload."""
        self._open.setdefault(seat, {})[vertex.digest] = round_of(vertex.ref)

    def settled(self, seat: int, vertices: Iterable[Vertex], *, sequenced: bool) -> None:
        """The node says that these are committed, or lost."""
        waiting = self._open.get(seat)
        if not waiting:
            return
        for vertex in vertices:
            if waiting.pop(vertex.digest, None) is not None:
                if sequenced:
                    self.sequenced += 1
                else:
                    self.dropped += 1

    def crashed(self, seat: int) -> None:
        """The node has lost its memory: what it knows after the restart comes from its store."""
        self._open.pop(seat, None)

    def check(self, seat: int, gc_round: Round, uncommitted: Iterable[Digest] = ()) -> None:
        """Nothing below gc_round is still open. uncommitted: still on its way through the executor."""
        coming = set(uncommitted)
        for digest, round_ in self._open.get(seat, {}).items():
            settled = round_ > gc_round or digest in coming
            facts = {"seat": seat, "vertex": digest, "round": round_, "gc_round": gc_round}
            must(settled, "I12", "every submission ends SEQUENCED or DROPPED", **facts)

    def open_count(self, seat: int) -> int:
        """How many wait at a node."""
        return len(self._open.get(seat, {}))


def check_tables(seat: int, sizes: Mapping[str, tuple[int, int]]) -> None:
    """I13: no table of a node is larger than its bound. sizes: (size, bound) by name."""
    for name, (size, bound) in sizes.items():
        must(size <= bound, "I13", "tables are bounded", seat=seat, table=name, size=size, bound=bound)


class Registry:
    """Every vertex that an honest node has accepted, once, in the order of acceptance."""

    __slots__ = ("certificates", "vertices")

    def __init__(self, committee: Committee) -> None:
        self.vertices: dict[Digest, Vertex] = {}
        self.certificates = Certificates(committee)

    def note(self, vertices: Iterable[Vertex]) -> None:
        """An honest node writes these down."""
        for vertex in vertices:
            if vertex.digest not in self.vertices:
                self.vertices[vertex.digest] = vertex
                if not isinstance(vertex, OperatorVertex):
                    self.certificates.note(vertex)
