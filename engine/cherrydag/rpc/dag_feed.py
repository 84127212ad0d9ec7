"""What the DAG looks like as it grows: short notes of vertices and commits, in the order of their arrival.

Each note has a number, and the number of the last one that somebody knows is a cursor. Numbers begin with the
microseconds of Unix time at the start, so those of a later life of the node are above all of an earlier one,
and whoever comes back with a cursor of that is told of a gap. Only the newest notes are kept. A note holds no
payload and no reference to one; making it is all that is done while nobody listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import orjson

from cherrydag.params import RECORD_BYTES
from cherrydag.primitives import Round
from cherrydag.refs import round_of
from cherrydag.vertex import OperatorVertex, ValidatorVertex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cherrydag.commit import Commit
    from cherrydag.primitives import Digest, PublicKey
    from cherrydag.rpc.forms import Json
    from cherrydag.rpc.limits import RpcLimits
    from cherrydag.runtime.books import Executed
    from cherrydag.runtime.opening import Running
    from cherrydag.vertex import Vertex

NAME_BYTES: Final = 8
"""Of a digest: what the feed calls a vertex. The store finds vertices by as many."""

COMMIT_NAMES_MAX: Final = 4096
"""Vertices of a commit in one note; a commit of more is told in parts."""

_COMMITS_READ: Final = 16

# What a note takes as JSON, at most, beside its names.
_VERTEX_SIZE: Final = 300
_COMMIT_SIZE: Final = 160
_NAME_SIZE: Final = 2 * NAME_BYTES + 3


class VertexNote(NamedTuple):
    """A vertex. author: a validator's index, -1 for an operator. round: an operator's anchor round. size: of
    its encoding in bytes. parents: names, end to end; of a validator's its ancestors, then its tips."""

    name: bytes
    author: int
    issuer: PublicKey
    round: int
    time_ms: int
    transactions: int
    size: int
    parents: bytes

    @property
    def json_size(self) -> int:
        """Bytes of its JSON at most."""
        return _VERTEX_SIZE + len(self.parents) // NAME_BYTES * _NAME_SIZE

    def form(self) -> Json:
        """It as JSON."""
        return {
            "name": self.name.hex(),
            "kind": "operator" if self.author < 0 else "validator",
            "author": None if self.author < 0 else self.author,
            "issuer": self.issuer.hex(),
            "round": self.round,
            "time_ms": self.time_ms,
            "transactions": self.transactions,
            "bytes": self.size,
            "parents": _texts(self.parents),
        }


class CommitNote(NamedTuple):
    """A commit, or a part of one that has many vertices: they and their transactions."""

    commit_index: int
    time_ms: int
    leader: bytes
    vertices: bytes
    transactions: int

    @property
    def json_size(self) -> int:
        """Bytes of its JSON at most."""
        return _COMMIT_SIZE + len(self.vertices) // NAME_BYTES * _NAME_SIZE

    def form(self) -> Json:
        """It as JSON."""
        return {
            "commit_index": self.commit_index,
            "time_ms": self.time_ms,
            "leader": self.leader.hex(),
            "vertices": _texts(self.vertices),
            "transactions": self.transactions,
        }


Note: TypeAlias = VertexNote | CommitNote


class DagEvent(NamedTuple):
    """What a subscriber is told at a time. cursor: number of the last note in it."""

    cursor: int
    encoded: bytes


class DagFeed:
    """The newest `limits.dag_notes` notes of one ledger's DAG, from start() to stop(); a Watcher of its host.

    An event has dag_event_bytes at most, but one note at least.
    """

    def __init__(self, running: Running, limits: RpcLimits) -> None:
        self._running = running
        self._members = running.service.rules.committee.members
        self._event_bytes = limits.dag_event_bytes
        self._notes: list[Note | None] = [None] * limits.dag_notes
        self._start = 0
        self.last = 0
        """Number of the newest note."""

    # Life

    def start(self) -> None:
        """Note what is in the window, and look on."""
        host = self._running.host
        if host is None:
            return
        self._start = self.last = 1000 * host.wall_ms
        self._note_window()
        host.watchers.append(self)

    def stop(self) -> None:
        """Look away. Idempotent."""
        host = self._running.__dict__.get("host")
        if host is not None and self in host.watchers:
            host.watchers.remove(self)

    @property
    def first(self) -> int:
        """Number of the oldest note that is kept; last + 1 if there is none."""
        return max(self._start, self.last - len(self._notes)) + 1

    # What the host tells

    def on_accepted(self, vertices: Sequence[Vertex]) -> None:
        """Vertices are in the window."""
        for vertex in vertices:
            self._add(self._vertex_note(vertex))

    def on_final(self, executed: Executed) -> None:
        """A commit is final."""
        self._add_commit(executed.sub_dag.commit, [len(each) for each in executed.result.statuses])

    def _add(self, note: Note) -> None:
        self.last += 1
        self._notes[self.last % len(self._notes)] = note

    def _vertex_note(self, vertex: Vertex) -> VertexNote:
        if isinstance(vertex, ValidatorVertex):
            author, issuer = int(vertex.author), self._members[vertex.author].public_key
            parents = names_of([ref[2] for ref in vertex.ancestors])
            if vertex.tips:
                parents += names_of([ref[2] for ref in vertex.tips])
        else:
            author, issuer = -1, vertex.issuer
            parents = names_of([ref[2] for ref in vertex.parents])
        return VertexNote(
            vertex.digest[:NAME_BYTES],
            author,
            issuer,
            round_of(vertex.ref),
            vertex.timestamp_ms,
            len(vertex.payload),
            vertex_size(vertex),
            parents,
        )

    def _add_commit(self, commit: Commit, counts: Sequence[int]) -> None:
        names = names_of([ref.digest for ref in commit.vertices])
        leader = commit.leader.digest[:NAME_BYTES]
        for at in range(0, len(commit.vertices), COMMIT_NAMES_MAX):
            part = names[at * NAME_BYTES : (at + COMMIT_NAMES_MAX) * NAME_BYTES]
            transactions = sum(counts[at : at + COMMIT_NAMES_MAX])
            self._add(CommitNote(commit.index, commit.timestamp_ms, leader, part, transactions))

    # At the start

    def _note_window(self) -> None:
        """The commits whose leaders are in the window, with their vertices; then what waits for a commit. A
        ledger that is only read has no window."""
        host = self._running.host
        if host is None or not len(host.node.engine.window):
            return
        window, store = host.node.engine.window, self._running.store
        seen: dict[Digest, None] = {}
        for commit in self._recent_commits(window.gc_round):
            outcome = store.outcome(commit.index)
            if outcome is None:
                continue
            held = [vertex for ref in commit.vertices if (vertex := window.get(ref.digest)) is not None]
            seen.update((vertex.digest, None) for vertex in held)
            self.on_accepted(held)
            self._add_commit(commit, [len(each) for each in outcome.statuses])
        for number in range(window.gc_round + 1, window.graph.highest_round + 1):
            waiting = [v for v in window.vertices(Round(number)) if v.digest not in seen]
            # An operator's vertex is anchored in its round by a validator's.
            self.on_accepted(sorted(waiting, key=lambda vertex: isinstance(vertex, OperatorVertex)))

    def _recent_commits(self, gc_round: int) -> Iterator[Commit]:
        """Executed commits whose leaders are above gc_round, oldest first; as many as there may be notes."""
        found: list[Commit] = []
        last = self._running.books.commit_index
        vertices = 0
        while last > 0 and vertices < len(self._notes):
            read = self._running.store.commits(max(1, last - _COMMITS_READ + 1), last)
            fresh = [commit for commit in read if commit.leader.round > gc_round]
            found[:0] = fresh
            vertices += sum(len(commit.vertices) for commit in fresh)
            if len(fresh) < _COMMITS_READ:
                break
            last -= _COMMITS_READ
        return iter(found)

    # What subscribers get

    def begin(self, after: int | None) -> tuple[int, bool]:
        """The cursor that a subscription begins with, and whether it is behind a gap: it cannot go on where
        `after` says, and gets all that is kept."""
        if after is not None and self.first - 1 <= after <= self.last:
            return after, False
        return self.first - 1, after is not None

    def event(self, after: int, until: int, *, is_gap: bool = False) -> DagEvent:
        """The notes behind `after`, up to `until` or as many as an event holds. If they are not all kept any
        more it begins with the oldest and says that there is a gap."""
        if after < self.first - 1:
            after, is_gap = self.first - 1, True
        taken = list(self._fitting(range(after + 1, until + 1)))
        engine = None if self._running.host is None else self._running.host.node.engine
        form = {
            "is_gap": is_gap,
            "round": 0 if engine is None else engine.clock_round,
            "gc_round": 0 if engine is None else engine.chain.gc_round,
            "vertices": [note.form() for note in taken if isinstance(note, VertexNote)],
            "commits": [note.form() for note in taken if isinstance(note, CommitNote)],
        }
        return DagEvent(after + len(taken), orjson.dumps(form))

    def newest(self) -> DagEvent:
        """As much of the newest as an event holds, behind a gap."""
        count = sum(1 for _ in self._fitting(range(self.last, self.first - 1, -1)))
        return self.event(self.last - count, self.last, is_gap=True)

    def _fitting(self, numbers: range) -> Iterator[Note]:
        """The first of these notes that fit into an event."""
        room = self._event_bytes
        for number in numbers:
            note = self._notes[number % len(self._notes)]
            if note is None:
                return
            room -= note.json_size
            if room < 0 and number != numbers[0]:
                return
            yield note


def vertex_size(vertex: Vertex) -> int:
    """Bytes of its encoding."""
    payload = vertex.payload
    return len(vertex.header) + len(payload) * RECORD_BYTES + len(payload.bodies)


def names_of(digests: Sequence[bytes]) -> bytes:
    """The names of vertices, end to end."""
    return b"".join([digest[:NAME_BYTES] for digest in digests])


def _texts(names: bytes) -> list[str]:
    return names.hex(" ", NAME_BYTES).split()
