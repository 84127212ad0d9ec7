"""Vertices under verification, by job; how many of one peer's pushes may be at a time."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from cherrydag.codec import vertex_parts
from cherrydag.gossip.effects import Verify
from cherrydag.gossip.messages import Message
from cherrydag.primitives import Peer
from cherrydag.vertex import Vertex

PEER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Frames of one peer under verification, above which its pushes are dropped; the last may go beyond."""


class Job(NamedTuple):
    """Vertices under verification. message: what they came in."""

    peer: Peer
    message: Message
    vertices: tuple[Vertex, ...]


class Jobs:
    """The jobs of one node. numbers: where their numbers come from. peer_max: of one peer's, above which its
    pushes are dropped."""

    __slots__ = ("_bytes_of_peer", "_jobs", "_numbers", "_of_peer", "_peer_max")

    def __init__(self, numbers: Iterator[int], peer_max: int) -> None:
        self._numbers = numbers
        self._peer_max = peer_max
        self._jobs: dict[int, Job] = {}
        self._of_peer: dict[Peer, int] = {}
        self._bytes_of_peer: dict[Peer, int] = {}

    def has_room(self, peer: Peer) -> bool:
        """Whether a push of this peer may be verified."""
        return (
            self._of_peer.get(peer, 0) < self._peer_max and self._bytes_of_peer.get(peer, 0) < PEER_BYTES_MAX
        )

    def open(self, peer: Peer, message: Message, vertices: Sequence[Vertex]) -> Verify:
        """Begin a job: what is to be verified, under its number."""
        number = next(self._numbers)
        self._jobs[number] = Job(peer, message, tuple(vertices))
        self._bytes_of_peer[peer] = self._bytes_of_peer.get(peer, 0) + _size(vertices)
        self._of_peer[peer] = self._of_peer.get(peer, 0) + 1
        return Verify(number, tuple(vertices))

    def close(self, number: int) -> Job:
        """Its verdicts are there."""
        job = self._jobs.pop(number)
        left = self._of_peer[job.peer] - 1
        if left:
            self._of_peer[job.peer] = left
            self._bytes_of_peer[job.peer] -= _size(job.vertices)
        else:
            del self._of_peer[job.peer], self._bytes_of_peer[job.peer]
        return job


def _size(vertices: Sequence[Vertex]) -> int:
    return sum(len(part) for vertex in vertices for part in vertex_parts(vertex))
