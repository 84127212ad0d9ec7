"""Vertices under verification: each once, however many peers send it; how much of one peer's may be.

A vertex that is under way is neither verified a second time nor fetched. Its copies wait for the verdict on
the first one, as its payload alone may be false.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from cherrydag.codec import vertex_parts
from cherrydag.gossip.effects import Verify
from cherrydag.gossip.messages import Message, Push, Vertices
from cherrydag.primitives import Digest, Peer
from cherrydag.refs import AnyRef
from cherrydag.vertex import Vertex

PEER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Frames of one peer under verification, above which its pushes are dropped; the last may go beyond."""


class Job(NamedTuple):
    """Vertices under verification. message: what they came in."""

    peer: Peer
    message: Message
    vertices: tuple[Vertex, ...]


class Settled(NamedTuple):
    """What waited for the verdict on a vertex: copies of it, in their order, each as a job of its own; who
    sent something that refers to it, and by which reference."""

    copies: Sequence[Job]
    wanted: Sequence[tuple[Peer, AnyRef]]


class _UnderWay:
    """What waits for the verdict on one vertex."""

    __slots__ = ("copies", "wanted")

    def __init__(self) -> None:
        self.copies: list[Job] = []
        self.wanted: dict[Peer, AnyRef] = {}


class Jobs:
    """The jobs of one node. numbers: where their numbers come from. peer_max: of one peer's, copies included,
    above which its pushes are dropped."""

    __slots__ = ("_bytes_of_peer", "_jobs", "_numbers", "_of_peer", "_peer_max", "_under_way")

    def __init__(self, numbers: Iterator[int], peer_max: int) -> None:
        self._numbers = numbers
        self._peer_max = peer_max
        self._jobs: dict[int, Job] = {}
        self._of_peer: dict[Peer, int] = {}
        self._bytes_of_peer: dict[Peer, int] = {}
        self._under_way: dict[Digest, _UnderWay] = {}

    def has_room(self, peer: Peer) -> bool:
        """Whether a push of this peer may be verified."""
        return (
            self._of_peer.get(peer, 0) < self._peer_max and self._bytes_of_peer.get(peer, 0) < PEER_BYTES_MAX
        )

    def is_under_way(self, digest: Digest) -> bool:
        """Whether a vertex is under verification."""
        return digest in self._under_way

    def open(self, peer: Peer, message: Message, vertices: Sequence[Vertex]) -> Verify | None:
        """Begin a job: what is to be verified, under its number; None if that is nothing.

        What is under way already is left out, but for votes and our own newest vertices, whose answer counts
        as a whole.
        """
        chosen = list(vertices)
        if isinstance(message, Push | Vertices):
            chosen = [vertex for vertex in vertices if not self._is_copy(Job(peer, message, (vertex,)))]
            self._under_way.update((vertex.digest, _UnderWay()) for vertex in chosen)
        if not chosen:
            return None
        number = next(self._numbers)
        job = self._jobs[number] = Job(peer, message, tuple(chosen))
        self._charge(job)
        return Verify(number, job.vertices)

    def close(self, number: int) -> Job:
        """Its verdicts are there."""
        job = self._jobs.pop(number)
        self._release(job)
        return job

    def settle(self, job: Job, vertex: Vertex) -> Settled:
        """The verdict on one vertex of a job that is closed: what waited for it, once."""
        is_first = isinstance(job.message, Push | Vertices)
        found = self._under_way.pop(vertex.digest, None) if is_first else None
        if found is None:
            return Settled((), ())
        for copy in found.copies:
            self._release(copy)
        return Settled(found.copies, tuple(found.wanted.items()))

    def not_under_way(self, refs: Iterable[AnyRef], source: Peer) -> list[AnyRef]:
        """Those of the vertices, to which something of `source` refers, that have to be fetched; the others
        are told of when they are settled."""
        absent: list[AnyRef] = []
        for ref in refs:
            found = self._under_way.get(ref.digest)
            if found is None:
                absent.append(ref)
            else:
                found.wanted.setdefault(source, ref)
        return absent

    def _is_copy(self, job: Job) -> bool:
        """Whether its vertex is under way; then the job waits for it."""
        found = self._under_way.get(job.vertices[0].digest)
        if found is not None:
            found.copies.append(job)
            self._charge(job)
        return found is not None

    def _charge(self, job: Job) -> None:
        peer = job.peer
        self._bytes_of_peer[peer] = self._bytes_of_peer.get(peer, 0) + _size(job.vertices)
        self._of_peer[peer] = self._of_peer.get(peer, 0) + 1

    def _release(self, job: Job) -> None:
        left = self._of_peer[job.peer] - 1
        if left:
            self._of_peer[job.peer] = left
            self._bytes_of_peer[job.peer] -= _size(job.vertices)
        else:
            del self._of_peer[job.peer], self._bytes_of_peer[job.peer]


def _size(vertices: Sequence[Vertex]) -> int:
    return sum(len(part) for vertex in vertices for part in vertex_parts(vertex))
