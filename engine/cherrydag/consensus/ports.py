"""What the core needs from its host, as protocols: the runtime and the simulator each provide them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cherrydag.commit import Commit
from cherrydag.consensus.effects import SwapRecord
from cherrydag.payload import Payload
from cherrydag.primitives import Digest, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import AnyRef
from cherrydag.vertex import ValidatorVertex, Vertex


class SignMark(NamedTuple):
    """The highest round in which a vertex of this key may have left the node, and the signing digest of that
    vertex. Round 0: none, but the key has been in use."""

    round: Round
    digest: Digest


class SignState(Protocol):
    """Where the sign mark is kept: apart from the database, so that losing that does not lose this."""

    def load(self) -> SignMark | None:
        """The mark, None if the key has never signed. Raises StorageError if it cannot be told."""

    def record(self, mark: SignMark) -> None:
        """Make a higher mark durable before returning. Raises StorageError if it cannot."""


class Signer(Protocol):
    """A validator's key."""

    def sign(self, digest: Digest) -> bytes:
        """The 64-byte signature of 32 bytes."""


class PayloadSource(Protocol):
    """Where a new vertex gets its transactions from: the mempool."""

    def is_empty(self) -> bool:
        """Whether nothing waits."""

    def take(self, wall_ms: TimestampMs) -> Payload:
        """What the next vertex carries, within the limits of one; taken out."""


class Store(Protocol):
    """The durable log, for reading. What was persisted under one ticket is there as a whole or not at all."""

    def last_commit(self) -> Commit | None:
        """The commit of the highest index."""

    def commits(self, first: int, last: int) -> Sequence[Commit]:
        """Commits of the indices first..last that are there, ascending."""

    def vertices(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        """The vertices of these references, None where one is not there."""

    def vertices_above(self, round_: Round) -> Sequence[Vertex]:
        """Vertices with a higher round (or anchor round) in the order they were written: parents first."""

    def newest(self, author: ValidatorIndex) -> Sequence[ValidatorVertex]:
        """A validator's vertices of the highest round that is there of it."""

    def swaps(self) -> SwapRecord | None:
        """The swap table of the highest index."""
