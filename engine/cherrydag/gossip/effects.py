"""What a node asks its host to do besides the effects of consensus."""

from dataclasses import dataclass

from cherrydag.gossip.messages import Message
from cherrydag.primitives import Peer
from cherrydag.vertex import Vertex


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to one peer."""

    peer: Peer
    message: Message


@dataclass(frozen=True, slots=True)
class Verify:
    """Check these vertices alone, signatures included; then report the faults under this job."""

    job: int
    vertices: tuple[Vertex, ...]


@dataclass(frozen=True, slots=True)
class Penalise:
    """A peer broke a rule of the protocol. code: stable; reason: names field and limit."""

    peer: Peer
    code: str
    reason: str
