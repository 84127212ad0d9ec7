"""Which pushed vertices are worth a check of all their signatures."""

from typing import NamedTuple

from cherrydag.consensus.acceptance import Acceptance
from cherrydag.consensus.door import Refusal
from cherrydag.credit import Credit
from cherrydag.gossip.jobs import Jobs
from cherrydag.params import PEER_OTHERS
from cherrydag.primitives import Peer, TimestampMs
from cherrydag.vertex import Vertex


class OrphanLimits(NamedTuple):
    """Payload of a peer's orphans that is verified.

    burst_bytes: after a silence: what a new link may bring before its gaps are fetched. rate_bytes: that come
    back each second: their commit votes tell a node that is behind how far the others are. small_bytes: up to
    which a vertex costs none of it, as the pace of pushes bounds it well enough.
    """

    burst_bytes: int = 16 * 1024 * 1024
    rate_bytes: int = 1024 * 1024
    small_bytes: int = 2048


class PushFilter:
    """The filter of one node.

    An orphan refers to what is not here, nor under verification, and nothing here refers to it. Anybody can
    make them by the megabyte, full of good transactions, and keep every core busy with what nobody will ever
    need. Beyond its share a peer's are not verified: what is needed others refer to, and then it is fetched.
    """

    __slots__ = ("_acceptance", "_credits", "_jobs", "_limits")

    def __init__(self, acceptance: Acceptance, jobs: Jobs, limits: OrphanLimits | None = None) -> None:
        self._acceptance = acceptance
        self._jobs = jobs
        self._limits = limits or OrphanLimits()
        self._credits: dict[Peer, Credit] = {}

    def admits(self, peer: Peer, vertex: Vertex, now_ms: TimestampMs) -> bool:
        """Whether to verify it; counted as evicted if it is an orphan too many. now_ms never sinks."""
        if not self._jobs.has_room(peer):
            return False
        burst, rate, small = self._limits
        size = len(vertex.payload.octets) + len(vertex.payload.bodies)
        if size <= small or not self._acceptance.is_orphan(vertex, self._jobs.is_under_way):
            return True
        credit = self._credits.get(peer) or Credit.full(burst, now_ms)
        admitted, self._credits[peer] = credit.take(rate, burst, now_ms, size)
        if not admitted:
            self._acceptance.refused[Refusal.EVICTED] += 1
        return admitted

    def gone(self, peer: Peer) -> None:
        """A peer has disconnected. A validator that comes back has no new credit."""
        if peer >= PEER_OTHERS:
            self._credits.pop(peer, None)
