"""What lies where in the database: tables, keys, values, and the batches that write them.

The log is three tables with rising keys: vertices by sequence number, commits and swap tables by commit
index. Beside it lies, by commit index too, what executing the commits gave. The other vertex tables are
indexes of keys alone. A vertex is in two of them under its digest, so that one damaged key is noticed and not
taken for an absence. Integers in keys are big-endian: keys sort as they count. Every value, an empty one too,
is sealed over its table and key (ext/store/store.h).
"""

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from cherrydag import crypto
from cherrydag._native.store import APPEND
from cherrydag.codec import Frame, vertex_parts
from cherrydag.commit import Commit
from cherrydag.consensus.effects import SwapRecord
from cherrydag.consensus.leader import SwapTable
from cherrydag.errors import StorageError
from cherrydag.layout import TAGGED_OPERATOR_REF, TAGGED_VERTEX_REF, RefTag
from cherrydag.primitives import Digest, Epoch, Round
from cherrydag.refs import AnyRef, OperatorRef, VertexRef, pack_refs, round_of
from cherrydag.vertex import Vertex

SCHEMA_VERSION: Final = 2
"""Another number is another layout. A new table takes the next number of Table."""

SEAL_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 storage seal v1", b"")
"""Hashing key of the seals; not of a chain, so that a foreign database can say whose it is."""


class Table(IntEnum):
    """Numbers of the tables; a table's name in the database is this name in lower case."""

    META = 0
    """b"identity" -> IDENTITY."""
    VERTICES = 1
    """seq u64 -> tagged reference, frame. Sequence numbers begin with 0 and have no gaps."""
    COMMITS = 2
    """index u64 -> frame. No gaps."""
    SWAPS = 3
    """commit index u64 -> counts of worst and best u16, their authors u16."""
    VERTEX_DIGEST = 4
    """digest prefix 8, seq u64."""
    VERTEX_ROUND = 5
    """round u32, digest prefix 8, seq u64."""
    VERTEX_AUTHOR = 6
    """author u16, round u32, seq u64; validators' vertices only."""
    RESULTS = 7
    """commit index u64 -> what its execution gave (storage.outcome). No gaps, no index without a commit."""


TABLES: Final = tuple(table.name.lower() for table in Table)

PREFIX_BYTES: Final = 8
"""Bytes of a digest in an index. Vertices that share them are told apart by what is stored."""

SEQ: Final = Struct(">Q")
DIGEST_KEY: Final = Struct(">8sQ")
ROUND_KEY: Final = Struct(">I8sQ")
AUTHOR_KEY: Final = Struct(">HIQ")
ROUND_PREFIX: Final = Struct(">I8s")
AUTHOR_PREFIX: Final = Struct(">HI")

IDENTITY_KEY: Final = b"identity"
IDENTITY: Final = Struct("<I32sI")
"""schema version, genesis digest, epoch."""

_SWAP_COUNTS = Struct("<HH")
_PUT = Struct("<BBHI")  # table, flags, bytes of key and of value: ext/store/store.h
_COUNT = Struct("<I")


class Identity(NamedTuple):
    """Whose database it is: a chain's, in the term of one committee."""

    genesis_digest: Digest
    epoch: Epoch


class DamagedVertexError(StorageError):
    """A stored vertex is not what was written. A peer can give it again, and the store can `repair` it.

    ref: what to ask for.
    """

    def __init__(self, ref: AnyRef, message: str) -> None:
        super().__init__(message)
        self.ref = ref


class DamagedOutcomeError(StorageError):
    """A stored outcome is not what was written. Executing the commit again gives it, to be written again."""

    def __init__(self, commit_index: int, words: str) -> None:
        super().__init__(f"the outcome of commit {commit_index} is damaged: {words}")
        self.commit_index = commit_index


# Values


def encode_identity(identity: Identity) -> bytes:
    """The value under IDENTITY_KEY."""
    return IDENTITY.pack(SCHEMA_VERSION, *identity)


def decode_ref(value: bytes) -> AnyRef:
    """The reference that a vertex's record begins with. StorageError if there is none."""
    tag, size = value[:1], len(value)
    if tag == bytes([RefTag.VALIDATOR]) and size >= TAGGED_VERTEX_REF.size:
        return VertexRef._make(TAGGED_VERTEX_REF.unpack_from(value)[1:])
    if tag == bytes([RefTag.OPERATOR]) and size >= TAGGED_OPERATOR_REF.size:
        return OperatorRef._make(TAGGED_OPERATOR_REF.unpack_from(value)[1:])
    raise StorageError(f"a vertex's record of {size} bytes begins with no reference")


def frame_of(value: bytes, ref: AnyRef) -> Frame:
    """What follows the reference in a vertex's record."""
    head = TAGGED_VERTEX_REF if isinstance(ref, VertexRef) else TAGGED_OPERATOR_REF
    return memoryview(value)[head.size :]


def encode_swaps(swaps: SwapTable) -> bytes:
    """The value of a swap table."""
    authors = [*swaps.worst, *swaps.best]
    counts = _SWAP_COUNTS.pack(len(swaps.worst), len(swaps.best))
    return counts + Struct(f"<{len(authors)}H").pack(*authors)


def decode_swaps(key: bytes, value: bytes) -> SwapRecord:
    """The record under this key. StorageError if the value is not one."""
    (index,) = SEQ.unpack(key)
    worst, best = _SWAP_COUNTS.unpack_from(value)
    layout = Struct(f"<{worst}H{best}H")
    if len(value) != _SWAP_COUNTS.size + layout.size:
        raise StorageError(f"swap table of commit {index}: {len(value)} bytes for {worst} + {best} authors")
    authors = layout.unpack_from(value, _SWAP_COUNTS.size)
    return SwapRecord(index, SwapTable(authors[:worst], authors[worst:]))


# Batches


class Put(NamedTuple):
    """One value to write; `append` if the key is higher than any in its table."""

    table: Table
    key: bytes
    parts: tuple[Frame, ...] = ()
    append: bool = False


def vertex_put(seq: int, vertex: Vertex, *, append: bool = True) -> Put:
    """The record of a vertex."""
    parts = (pack_refs([vertex.ref]), *vertex_parts(vertex))
    return Put(Table.VERTICES, SEQ.pack(seq), parts, append)


def index_keys(seq: int, ref: AnyRef) -> list[tuple[Table, bytes]]:
    """Where a vertex must be found."""
    prefix, round_ = ref.digest[:PREFIX_BYTES], round_of(ref)
    keys = [
        (Table.VERTEX_DIGEST, DIGEST_KEY.pack(prefix, seq)),
        (Table.VERTEX_ROUND, ROUND_KEY.pack(round_, prefix, seq)),
    ]
    if isinstance(ref, VertexRef):
        keys.append((Table.VERTEX_AUTHOR, AUTHOR_KEY.pack(ref.author, round_, seq)))
    return keys


def commit_put(commit: Commit) -> Put:
    """The record of a commit."""
    return Put(Table.COMMITS, SEQ.pack(commit.index), (commit.encoding,), append=True)


def swaps_put(record: SwapRecord) -> Put:
    """The record of a swap table."""
    return Put(Table.SWAPS, SEQ.pack(record.commit_index), (encode_swaps(record.swaps),))


def pack_batch(puts: Iterable[Put]) -> bytes:
    """The bytes that the native writer takes."""
    parts: list[Frame] = [b""]
    count = 0
    for table, key, values, append in puts:
        size = sum(map(len, values))
        parts += [_PUT.pack(table, APPEND if append else 0, len(key), size), key, *values]
        count += 1
    parts[0] = _COUNT.pack(count)
    return b"".join(parts)


def vertices_batch(first_seq: int, vertices: Iterable[Vertex]) -> list[Put]:
    """The records and index entries of vertices that follow on each other."""
    puts: list[Put] = []
    for seq, vertex in enumerate(vertices, first_seq):
        puts.append(vertex_put(seq, vertex))
        puts += [Put(table, key) for table, key in index_keys(seq, vertex.ref)]
    return puts


# Bounds of keys


def after(prefix: bytes) -> bytes:
    """The lowest key above all that begin with the prefix; empty if there is none."""
    following = int.from_bytes(prefix, "big") + 1
    return b"" if following >> (8 * len(prefix)) else following.to_bytes(len(prefix), "big")


def above_round(round_: Round) -> bytes | None:
    """Where the entries of higher rounds begin in VERTEX_ROUND; None if no round is higher."""
    return after(round_.to_bytes(4, "big")) or None
