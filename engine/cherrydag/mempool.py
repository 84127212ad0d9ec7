"""The mempool: transactions that wait for a vertex, and those in one that is not committed yet.

Batches go in and come out, no Python object stands for a transaction. A transaction waits, is taken into a
vertex, and is settled once that is committed, or put back once it is lost. Who is admitted when the pool is
full, and in which order transactions leave: ext/mempool/mempool.h.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from cherrydag._native import mempool
from cherrydag.chain import Chain
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import ConfigError
from cherrydag.params import (
    FEE_MIN,
    NONCE_WINDOW,
    VALID_FOREVER,
    VERTEX_BODIES_BYTES_MAX,
    VERTEX_BYTES_MAX,
    VERTEX_TRANSACTIONS_MAX,
)
from cherrydag.payload import EMPTY_PAYLOAD, EMPTY_ROOT, Payload, body_offsets, payload_root
from cherrydag.primitives import Digest, TimestampMs
from cherrydag.transaction import RECORD, Bytes, Octets, Records, Words
from cherrydag.vertex import Vertex

HEADER_ROOM: Final = 64 * 1024
"""Bytes of a vertex's frame that are left to its header."""

SCAN_MAX: Final = 8192
"""Slots that one call of `expire` looks at unless it is told otherwise."""

BLOCK_BYTES: Final = mempool.BLOCK_BYTES
"""Bodies are kept in blocks of this size."""


class AddStatus(IntEnum):
    """What became of an offered transaction; stable. The checks run in the order that mempool.h states."""

    ADDED = 1
    REPLACED = 2
    """Added, in the place of a waiting one of the same sender and nonce with a lower fee."""
    DUPLICATE = 3
    """The id waits, is taken, or was settled recently."""
    NONCE = 4
    """Its sender has one of this nonce, which is taken or is not outbid by a tenth."""
    EXPIRED = 5
    """now_s is past valid_until."""
    FEE_LOW = 6
    """Below the floor; or the pool is full, and it does not outbid the lowest."""
    SENDER_FULL = 7
    """Its sender has sender_max that are not settled."""
    FULL = 8
    """There is no room for its body, or all that is there is taken."""
    TOO_BIG = 9
    """The body is larger than one may be."""

    @property
    def is_admitted(self) -> bool:
        """Whether it waits now."""
        return self <= AddStatus.REPLACED


class DropReason(IntEnum):
    """Why a waiting transaction is gone without having been settled; stable."""

    EVICTED = 1
    """The pool was full, and a newcomer bid more."""
    EXPIRED = 2
    """now_s is past its valid_until."""
    STALE = 3
    """Its nonce is below its sender's base."""
    REPLACED = 4
    """Another of its sender and nonce with a higher fee came."""


class Presence(IntEnum):
    """What is known of an id; stable."""

    UNKNOWN = 0
    WAITING = 1
    TAKEN = 2
    SETTLED = 3
    """It is among the recent_max that were settled last."""


@dataclass(frozen=True, slots=True)
class MempoolLimits:
    """Bounds of a mempool; a node's own, no consensus rule.

    transactions_max: waiting and taken. sender_max: of one sender; more than a replay window cannot be
    executed at once. body_bytes_max: of bodies, each counted in whole blocks. fee_min: least fee. recent_max:
    settled ids that are remembered. Raises ConfigError naming the limit that is out of its range.

    prefault: whether all of that memory is touched at the start, in huge pages where the system has them.
    That takes up to a second; afterwards no call waits for the system to hand out pages.

    Memory, reserved at the start and touched as it fills: 404 bytes for each of transactions_max, 36 for each
    of recent_max, 65/64 of body_bytes_max, 9 for each of transactions_max or of 65,536 if these are more (the
    list of dropped tags); in the indexes 32 to 64 for each of transactions_max and 16 to 32 for each of
    recent_max, touched at the start. And as transactions come, up to 128 each in the lists of senders that
    have more than one.
    """

    transactions_max: int = 1 << 18
    sender_max: int = NONCE_WINDOW
    body_bytes_max: int = 64 * 1024 * 1024
    fee_min: int = FEE_MIN
    recent_max: int = 1 << 19
    prefault: bool = False

    def __post_init__(self) -> None:
        bounds = {
            "transactions_max": (1, mempool.TRANSACTIONS_MAX),
            "sender_max": (1, mempool.SENDER_MAX),
            "body_bytes_max": (0, mempool.BODIES_MAX),
            "fee_min": (0, 2**64 - 1),
            "recent_max": (0, mempool.RECENT_MAX),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"mempool.{name}: expected {least}..{most}, got {value}")


class Taken(NamedTuple):
    """Transactions for a vertex, in order: n records, n x 32 bytes of ids, and the bodies end to end."""

    records: Records
    ids: bytes
    bodies: bytes


class MempoolStats(NamedTuple):
    """What is there, and what has happened since the pool was made.

    body_bytes: in whole blocks. memory_bytes: reserved. outcomes: of `add`, indexed by AddStatus. evicted,
    expired and stale were dropped while they waited. tags_lost: of dropped ones, for which the list that
    drain_dropped empties had no room.
    """

    waiting: int
    taken: int
    senders: int
    recent: int
    body_bytes: int
    memory_bytes: int
    outcomes: tuple[int, ...]
    taken_ever: int
    settled_ever: int
    put_back_ever: int
    evicted: int
    expired: int
    stale: int
    tags_lost: int


class Mempool:
    """Transactions that are not committed yet, in native memory.

    seed: 16 secret bytes of the process; they keep strangers from aiming collisions at the indexes and change
    no answer. One owner. Calls release the GIL; a call during another one raises InvariantViolation.
    """

    __slots__ = ("_pool", "limits")

    def __init__(self, limits: MempoolLimits, seed: bytes) -> None:
        self.limits = limits
        self._pool = mempool.Pool(
            limits.transactions_max,
            limits.sender_max,
            limits.recent_max,
            limits.body_bytes_max,
            limits.fee_min,
            seed,
            limits.prefault,
        )

    def add(
        self,
        records: Records,
        ids: Bytes,
        now_s: int,
        bodies: Bytes = b"",
        offsets: Words | None = None,
        tags: Words | None = None,
    ) -> Octets:
        """Offer n transactions in order; return n bytes, an AddStatus each.

        records: contiguous, checked and verified before. ids: n x 32 bytes, from transaction_ids. bodies and
        offsets: as transaction_ids takes them. now_s: unix seconds. tags: n words of the caller's, one kept
        with each that is admitted and given back when it leaves; 0 for none, which is reported nowhere.
        Raises ShapeError, and admits none, if the lengths or a body_size disagree.
        """
        return self._pool.add(records, ids, now_s, bodies, offsets, tags)

    def take(
        self,
        transactions_max: int,
        body_bytes_max: int,
        now_s: int,
        *,
        bytes_max: int = 2**63,
    ) -> Taken:
        """Take transactions for a vertex; they stay known until they are settled or put back.

        bytes_max: of records and bodies together. Each sender gets a share in proportion to its fees, its
        transactions by ascending nonce. It ends early when the next bodies of 64 senders do not fit, or
        after 8192 expired ones, which are dropped.
        """
        records, ids, bodies = self._pool.take(transactions_max, body_bytes_max, bytes_max, now_s)
        return Taken(records.view(RECORD), ids, bodies)

    def settle(self, ids: Bytes, tags_out: Words | None = None) -> None:
        """Forget these, n x 32 bytes, which are committed, and remember their ids; known here or not.

        tags_out: n words that are written, of each the tag of the transaction that was here, or 0.
        """
        self._pool.settle(ids, tags_out)

    def forget(self, ids: Bytes) -> None:
        """Remember these, n x 32 bytes, no more if they are settled: they came to nothing, and may be added
        again."""
        self._pool.forget(ids)

    def status(self, ids: Bytes) -> Octets:
        """What is known of these, n x 32 bytes: n bytes, a Presence each."""
        return self._pool.status(ids)

    def drain_dropped(self) -> tuple[Words, Octets]:
        """Tags of what was dropped since the last call, in that order, and a DropReason each.

        The list in between holds transactions_max, at least 65,536; later ones are lost, and counted as
        tags_lost. `add` drops one for each record at most, `take` 8192, `expire` scan_max.
        """
        return self._pool.drain_dropped()

    def put_back(self, ids: Bytes) -> int:
        """Let these wait again whose vertex was lost; return how many were taken. Others are left alone."""
        return self._pool.put_back(ids)

    def expire(self, now_s: int, scan_max: int = SCAN_MAX) -> int:
        """Drop waiting ones that have expired among the next scan_max slots; return how many.

        Calls go round the pool: each continues where the one before ended.
        """
        return self._pool.expire(now_s, scan_max)

    def drop_stale(self, senders: Octets, bases: Words) -> int:
        """Drop waiting ones whose nonce is below their sender's base; return how many.

        senders: n x 32 bytes, public keys; bases: n, what nonce_base of their accounts is now.
        """
        return self._pool.drop_stale(senders, bases)

    def __len__(self) -> int:
        """How many wait."""
        return self._pool.waiting()

    def stats(self) -> MempoolStats:
        """Counts and bytes."""
        return MempoolStats(*self._pool.stats())


class MempoolSource:
    """consensus.ports.PayloadSource over a mempool: the payloads of our vertices.

    transactions_max: of the next payload; whoever knows how much a round should carry sets it. drained:
    transactions of our vertices that were committed, ever.
    """

    __slots__ = ("_chain", "_issued", "_mempool", "drained", "transactions_max")

    def __init__(self, pool: Mempool, chain: Chain) -> None:
        self.transactions_max = VERTEX_TRANSACTIONS_MAX
        self.drained = 0
        self._mempool = pool
        self._chain = chain
        self._issued: dict[Digest, bytes] = {}  # Ids of each payload of ours that is under way, by its root.

    def is_empty(self) -> bool:
        """Whether nothing waits. What waits may turn out to have expired."""
        return len(self._mempool) == 0

    def take(self, wall_ms: TimestampMs) -> Payload:
        """The payload of our next vertex, within the limits of one; no id is hashed again."""
        records, ids, bodies = self._mempool.take(
            min(VERTEX_TRANSACTIONS_MAX, self.transactions_max),
            VERTEX_BODIES_BYTES_MAX,
            min(wall_ms // 1000, VALID_FOREVER),
            bytes_max=VERTEX_BYTES_MAX - HEADER_ROOM,
        )
        if not ids:
            return EMPTY_PAYLOAD
        offsets = body_offsets(records, len(bodies))
        root = payload_root(Payload(records, bodies, offsets, EMPTY_ROOT), ids)
        self._issued[root] = ids
        return Payload(records, bodies, offsets, root)

    def on_lost(self, vertices: Iterable[Vertex]) -> None:
        """Vertices of ours fell below the window uncommitted: what they carried waits again.

        Only our own: who copies our payload must not have us issue it twice.
        """
        for vertex in vertices:
            ids = self._issued.pop(vertex.payload.root, None)
            if ids is not None:
                self._mempool.put_back(ids)

    def issued(self, root: Digest) -> bytes | None:
        """Ids of a payload of ours that is under way, n x 32 bytes, by its root."""
        return self._issued.get(root)

    def on_committed(self, vertices: Iterable[Vertex]) -> None:
        """Vertices of anybody were committed; whoever knows their ids has settled them."""
        for vertex in vertices:
            self.drained += len(self._issued.pop(vertex.payload.root, b"")) // DIGEST_BYTES
