"""What the consensus core asks its host to do. The core itself meets no clock, socket, disk or executor.

Effects are performed in the order given. What depends on a durable write is held back by the core until the
host has reported the write (Engine.on_persisted), so a host cannot send too early.
"""

from dataclasses import dataclass
from typing import NamedTuple, NewType, TypeAlias

from cherrydag.commit import Checkpoint, CheckpointCertificate, Commit
from cherrydag.consensus.leader import SwapTable
from cherrydag.primitives import Peer
from cherrydag.refs import AnyRef
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

Ticket = NewType("Ticket", int)
"""Number of a durable write, rising by one; that a ticket is durable says so of all before it."""


class SwapRecord(NamedTuple):
    """The swap table that holds after the commit of this index."""

    commit_index: int
    swaps: SwapTable


class SubDag(NamedTuple):
    """A commit and its vertices, in its order; `swaps` if the commit brought a new table."""

    commit: Commit
    vertices: tuple[Vertex, ...]
    swaps: SwapRecord | None = None


@dataclass(frozen=True, slots=True)
class Persist:
    """Write these durably, all or nothing, in the order of the tickets; then report the ticket.

    vertices: parents before children, none written before. commits: by index. swaps: at most one for each.
    """

    ticket: Ticket
    vertices: tuple[Vertex, ...]
    commits: tuple[Commit, ...]
    swaps: tuple[SwapRecord, ...]


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send our own vertex to every validator, and to whoever else listens. It is durable."""

    vertex: ValidatorVertex


@dataclass(frozen=True, slots=True)
class Entered:
    """A validator's vertex from a peer is in the window: it may be passed on to nodes that are none."""

    vertex: ValidatorVertex
    source: Peer


@dataclass(frozen=True, slots=True)
class Relay:
    """See to it that every validator has, or can ask us for, this operator vertex (causal push)."""

    vertex: OperatorVertex
    source: Peer


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get these vertices, which something that `source` sent refers to; ask it first."""

    refs: tuple[AnyRef, ...]
    source: Peer


@dataclass(frozen=True, slots=True)
class Execute:
    """Execute a commit; both it and its vertices are durable. In order of index, without a gap."""

    sub_dag: SubDag


@dataclass(frozen=True, slots=True)
class Lost:
    """These vertices fell below the window uncommitted: DROPPED; their transactions may be issued again."""

    vertices: tuple[Vertex, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Evidence: two vertices of one author in one slot, or of one operator under one seq."""

    first: Vertex
    second: Vertex


@dataclass(frozen=True, slots=True)
class Certified:
    """A quorum of validators has signed this checkpoint."""

    certificate: CheckpointCertificate


@dataclass(frozen=True, slots=True)
class Diverged:
    """A quorum has signed another state than ours: this node signs nothing more (6)."""

    own: Checkpoint
    certificate: CheckpointCertificate


@dataclass(frozen=True, slots=True)
class AskNewest:
    """Ask every validator for the newest vertex of ours that it knows (amnesia, 7)."""


Effect: TypeAlias = (
    Persist | Broadcast | Entered | Relay | Fetch | Execute | Lost | Report | Certified | Diverged | AskNewest
)
