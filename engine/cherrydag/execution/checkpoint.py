"""The whole state in chunks: read beside the work that changes it, and loaded into an empty one.

    HEAD     once and first: u8 version, commit_index u64, root 32, fees u128, supply u128, lines u64,
             entries u64
    LINES    n x 64 bytes, items of accounts.LINE, in any order, each line once
    ENTRIES  of each: u8 key size | key with its prefix | u32 value size | value; ascending by key through
             all chunks, behind all lines

Integers are little-endian. Chunks come from a disk or a peer: nothing in them is trusted. Whoever loads them
compares the head with a checkpoint that a quorum has signed.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from cherrydag.errors import Rejected, ShapeError, StorageError, invariant
from cherrydag.execution.accounts import LINE, Accounts, Lines
from cherrydag.execution.entries import PREFIX_BYTES, EntryTable
from cherrydag.primitives import Amount, Digest
from cherrydag.state_proof import KEY_BYTES_MAX, VALUE_BYTES_MAX

FORMAT_VERSION: Final = 1

CHUNK_BYTES_MAX: Final = 4 * 1024 * 1024
"""Largest payload of a chunk."""

CHUNK_LINES: Final = 1 << 14
"""Lines of a chunk that a snapshot makes: 1 MiB, so that making it holds nobody up."""

CHUNK_ENTRIES: Final = 1 << 10
"""Most entries of a chunk that a snapshot makes: about a millisecond of Python."""

_CHUNK_ENTRIES_BYTES: Final = 1 << 20  # a chunk that has reached it gets no further entry

_HEAD: Final = Struct("<BQ32s16s16sQQ")
_VALUE_SIZE: Final = Struct("<I")


class ChunkKind(IntEnum):
    """What a chunk holds."""

    HEAD = 1
    LINES = 2
    ENTRIES = 3


class Chunk(NamedTuple):
    """One piece of a state. payload: at most CHUNK_BYTES_MAX."""

    kind: int
    payload: bytes


class StateHead(NamedTuple):
    """What a state says of itself. root: of the state after this commit, which covers commit_index, fees and
    supply too. lines, entries: how many there are."""

    commit_index: int
    root: Digest
    fees: Amount
    supply: Amount
    lines: int
    entries: int


class StateSnapshot:
    """The state after a commit, while the next ones are executed. The state has one at a time.

    Made by Executor.begin_snapshot. Must be closed, or read to its end; it costs memory until then: a bit for
    each line, 64 bytes for each line that changes before it was read, a reference to each entry that changes.
    """

    __slots__ = ("_accounts", "_entries", "_frozen", "_is_open", "head")

    def __init__(self, commit_index: int, root: Digest, supply: Amount, state: "State") -> None:
        self._accounts, self._entries = state
        fees, lines = self._accounts.fees, len(self._accounts)
        self._accounts.begin_snapshot()
        self._frozen = self._entries.freeze()
        self._is_open = True
        self.head = StateHead(commit_index, root, fees, supply, lines, self._frozen.count)

    @property
    def commit_index(self) -> int:
        """Of the last commit in it."""
        return self.head.commit_index

    @property
    def root(self) -> Digest:
        """The state's root."""
        return self.head.root

    def chunks(self) -> Iterator[Chunk]:
        """The chunks, in order, once. The owner of the state takes each between two of its own calls.

        InvariantViolation if the snapshot was closed.
        """
        self._check_open()
        yield Chunk(ChunkKind.HEAD, encode_head(self.head))
        while self._check_open() and len(lines := self._accounts.snapshot_lines(CHUNK_LINES)):
            yield Chunk(ChunkKind.LINES, lines.tobytes())
        for payload in pack_entries(self._frozen):
            yield Chunk(ChunkKind.ENTRIES, payload)
            self._check_open()
        self.close()

    def close(self) -> None:
        """Let the state go, and give back what the snapshot took. Idempotent."""
        if self._is_open:
            self._is_open = False
            self._accounts.end_snapshot()
            self._entries.thaw()

    def _check_open(self) -> bool:
        invariant(self._is_open, "a snapshot is read once, and before it is closed")
        return True


class State(NamedTuple):
    """What a state lies in."""

    accounts: Accounts
    entries: EntryTable


def load_state(chunks: Iterable[tuple[int, bytes]], state: State) -> StateHead:
    """Load a state from its chunks into an empty one, the pot included.

    Returns the head, which is as good as the chunks: the root is not computed here. Raises StorageError where
    they are not a state's, Overloaded beyond the node's limit of lines: then what was loaded is of no use.
    """
    head: StateHead | None = None
    last_key = b""
    for number, (kind, payload) in enumerate(chunks):
        try:
            if head is None:
                head = _take_head(kind, payload)
            else:
                last_key = _load_chunk(kind, payload, state, last_key)
        except StorageError as error:
            raise StorageError(f"state: chunk {number} of kind {kind}: {error}") from error
    if head is None:
        raise StorageError("state: no chunk at all")
    found = len(state.accounts), len(state.entries)
    if found != (head.lines, head.entries):
        expected = f"expected {head.lines} lines and {head.entries} entries"
        raise StorageError(f"state: {expected}, got {found[0]} and {found[1]}")
    state.accounts.set_fees(head.fees)
    return head


def _take_head(kind: int, payload: bytes) -> StateHead:
    if kind != ChunkKind.HEAD:
        raise StorageError("the head comes first")
    return decode_head(payload)


def _load_chunk(kind: int, payload: bytes, state: State, last_key: bytes) -> bytes:
    """Load lines or entries, which lie beyond the last key so far; the last key now."""
    if len(payload) > CHUNK_BYTES_MAX:
        raise StorageError(f"{len(payload)} bytes, at most {CHUNK_BYTES_MAX} are allowed")
    if kind == ChunkKind.ENTRIES:
        return _load_entries(payload, state.entries, last_key)
    if kind != ChunkKind.LINES or last_key:
        raise StorageError("no such chunk here")
    _load_lines(payload, state.accounts)
    return last_key


def _load_lines(payload: bytes, accounts: Accounts) -> None:
    lines = decode_lines(payload)
    try:
        accounts.load(lines)
    except ShapeError as error:
        raise StorageError(str(error)) from error


def _load_entries(payload: bytes, entries: EntryTable, last_key: bytes) -> bytes:
    """The last key, beyond which those of the next chunk lie."""
    for key, value in decode_entries(payload):
        if key <= last_key:
            raise StorageError(f"entries do not ascend at key {key.hex()}")
        last_key = key
        prefix = int.from_bytes(key[:PREFIX_BYTES], "big")
        try:
            entries.put(prefix, key[PREFIX_BYTES:], value)
        except Rejected as error:
            raise StorageError(str(error)) from error
    return last_key


# Bytes


def encode_head(head: StateHead) -> bytes:
    """The payload of a head's chunk."""
    commit_index, root, fees, supply, lines, entries = head
    amounts = fees.to_bytes(16, "little"), supply.to_bytes(16, "little")
    return _HEAD.pack(FORMAT_VERSION, commit_index, root, *amounts, lines, entries)


def decode_head(payload: bytes) -> StateHead:
    """The head that encode_head made this of; StorageError if it did not."""
    if len(payload) != _HEAD.size:
        raise StorageError(f"head: expected {_HEAD.size} bytes, got {len(payload)}")
    version, commit_index, root, fees, supply, lines, entries = _HEAD.unpack(payload)
    if version != FORMAT_VERSION:
        raise StorageError(f"head: format {version}, this program knows {FORMAT_VERSION}")
    pot, coin = (Amount(int.from_bytes(amount, "little")) for amount in (fees, supply))
    return StateHead(commit_index, Digest(root), pot, coin, lines, entries)


def decode_lines(payload: bytes) -> Lines:
    """The lines of a chunk. StorageError if they are not whole, or none; what they say is not looked at."""
    if not payload or len(payload) % LINE.itemsize:
        raise StorageError(f"lines: {len(payload)} bytes are not one or more of {LINE.itemsize} each")
    return np.frombuffer(payload, LINE)


def pack_entries(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Payloads of chunks for entries (key with its prefix, value)."""
    parts: list[bytes] = []
    count = size = 0
    for key, value in entries:
        parts += (bytes([len(key)]), key, _VALUE_SIZE.pack(len(value)), value)
        size += 1 + len(key) + _VALUE_SIZE.size + len(value)
        count += 1
        if count == CHUNK_ENTRIES or size >= _CHUNK_ENTRIES_BYTES:
            yield b"".join(parts)
            parts, count, size = [], 0, 0
    if parts:
        yield b"".join(parts)


def decode_entries(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a chunk, one at least. StorageError where their bytes or sizes are no entry's."""
    if not payload:
        raise StorageError("entries: none")
    at, end = 0, len(payload)
    while at < end:
        key_size = payload[at]
        value_at = at + 1 + key_size + _VALUE_SIZE.size
        if not PREFIX_BYTES <= key_size <= KEY_BYTES_MAX:
            allowed = f"{PREFIX_BYTES} to {KEY_BYTES_MAX}"
            raise StorageError(f"entries: a key of {key_size} bytes at byte {at}, allowed are {allowed}")
        if value_at > end:
            raise StorageError(f"entries: they end within the key at byte {at}")
        (value_size,) = _VALUE_SIZE.unpack_from(payload, value_at - _VALUE_SIZE.size)
        if value_size > VALUE_BYTES_MAX:
            raise StorageError(
                f"entries: a value of {value_size} bytes, at most {VALUE_BYTES_MAX} are allowed"
            )
        if value_at + value_size > end:
            raise StorageError(f"entries: they end within the value at byte {value_at}")
        yield payload[at + 1 : at + 1 + key_size], payload[value_at : value_at + value_size]
        at = value_at + value_size
