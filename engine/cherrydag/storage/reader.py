"""The log as it lies in the database: a value is checked against its seal and its key before it counts.

What is there and wrong raises StorageError; a vertex raises DamagedVertexError, since it can be had again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from cherrydag._native.store import Store
from cherrydag.codec import Frame, decode_commit, decode_vertex
from cherrydag.commit import Commit
from cherrydag.consensus.effects import SwapRecord
from cherrydag.errors import PeerFault, StorageError
from cherrydag.primitives import Round, ValidatorIndex
from cherrydag.refs import AnyRef, round_of
from cherrydag.storage.schema import (
    AUTHOR_KEY,
    AUTHOR_PREFIX,
    DIGEST_KEY,
    IDENTITY,
    IDENTITY_KEY,
    PREFIX_BYTES,
    ROUND_KEY,
    ROUND_PREFIX,
    SCHEMA_VERSION,
    SEQ,
    DamagedVertexError,
    Identity,
    Table,
    above_round,
    after,
    decode_ref,
    decode_swaps,
    frame_of,
    index_keys,
)
from cherrydag.vertex import ValidatorVertex, Vertex

Entry: TypeAlias = tuple[int, bytes, bytes, bool]
"""Row of the key or prefix asked for, key, value, whether the seal fits: as the native store has it."""

_BYTES_PER_READ: Final = 32 << 20
"""Values that one native call copies, unless it is a single one."""

_ENTRIES_PER_READ: Final = 1024

_INDEXES: Final = 2
"""Indexes by digest; a vertex that only one of them has is damage."""


class Reader:
    """Reads an open native store."""

    __slots__ = ("_native",)

    def __init__(self, native: Store) -> None:
        self._native = native

    # The whole

    def identity(self) -> Identity:
        """Whose database it is. StorageError if this code cannot tell, or its layout is another one."""
        entries, _ = self._native.keys(Table.META, IDENTITY_KEY, len(IDENTITY_KEY), _BYTES_PER_READ)
        if not entries:
            raise StorageError("the database does not say whose it is")
        value = _sound(Table.META, entries[0])
        version = int.from_bytes(value[:4], "little")
        if version != SCHEMA_VERSION or len(value) != IDENTITY.size:
            raise StorageError(f"the database has schema version {version}, this code {SCHEMA_VERSION}")
        return Identity(*IDENTITY.unpack(value)[1:])

    def check_counts(self) -> None:
        """StorageError unless the tables have as many entries as the highest keys say."""
        count = self._native.count
        vertices, commits = self.next_seq(), self.commit_bounds()
        expected = {Table.VERTICES: vertices, Table.VERTEX_DIGEST: vertices, Table.VERTEX_ROUND: vertices}
        expected[Table.COMMITS] = commits[1] - commits[0] + 1 if commits else 0
        for table, entries in expected.items():
            if count(table) != entries:
                raise StorageError(f"{_name(table)}: {count(table)} entries, expected {entries}")

    # Vertices

    def next_seq(self) -> int:
        """The sequence number of the next vertex."""
        newest = self._native.range(Table.VERTICES, b"", b"", 1, 0, True)
        return _seq(newest[0][1]) + 1 if newest else 0

    def vertices(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        """The vertices of these references, None where one is not there."""
        candidates = self.candidates(refs)
        known = {seq: ref for ref, seqs in zip(refs, candidates, strict=True) for seq in seqs}
        by_seq = dict(self.read(sorted(known), known))
        found: list[Vertex | None] = []
        for ref, seqs in zip(refs, candidates, strict=True):
            seq = next((seq for seq in seqs if by_seq[seq].ref == ref), None)
            if seq is not None and seqs[seq] != _INDEXES:
                raise StorageError(f"an index lacks vertex {seq}: {_words(ref)}")
            found.append(None if seq is None else by_seq[seq])
        return found

    def candidates(self, refs: Sequence[AnyRef]) -> list[dict[int, int]]:
        """For each reference the vertices that may be its, by sequence number, and in how many of the indexes
        by digest they are. More than one is a forged digest prefix."""
        by_digest = b"".join([ref.digest[:PREFIX_BYTES] for ref in refs])
        by_round = b"".join([ROUND_PREFIX.pack(round_of(ref), ref.digest[:PREFIX_BYTES]) for ref in refs])
        found: list[dict[int, int]] = [{} for _ in refs]
        for table, prefixes, layout in (
            (Table.VERTEX_DIGEST, by_digest, DIGEST_KEY),
            (Table.VERTEX_ROUND, by_round, ROUND_KEY),
        ):
            for entry in self._native.prefixes(table, prefixes, layout.size - SEQ.size):
                _sound(table, entry)
                seq = layout.unpack(entry[1])[-1]
                found[entry[0]][seq] = found[entry[0]].get(seq, 0) + 1
        return found

    def read(
        self, seqs: Sequence[int], known: Mapping[int, AnyRef] | None = None
    ) -> Iterator[tuple[int, Vertex]]:
        """These vertices, in this order. StorageError if one is not there. known: references under which the
        indexes have them, for the report if a record is damaged from its beginning."""
        at = 0
        while at < len(seqs):
            some = seqs[at : at + _ENTRIES_PER_READ]
            keys = b"".join([SEQ.pack(seq) for seq in some])
            entries, done = self._native.keys(Table.VERTICES, keys, SEQ.size, _BYTES_PER_READ)
            if len(entries) != done:
                there = {entry[0] for entry in entries}
                gone = next(seq for row, seq in enumerate(some) if row not in there)
                raise StorageError(f"{_name(Table.VERTICES)}: vertex {gone} is missing")
            for entry in entries:
                yield _seq(entry[1]), self._vertex(entry, known or {})
            at += done

    def check_record(self, seq: int, ref: AnyRef) -> None:
        """DamagedVertexError if this record is damaged; `ref` is what the indexes have it under."""
        for _ in self.read([seq], {seq: ref}):
            pass

    def seqs_above(self, round_: Round) -> list[int]:
        """Sequence numbers of the vertices of higher rounds, rising."""
        start = above_round(round_)
        if start is None:
            return []
        entries = self._scan(Table.VERTEX_ROUND, start, b"")
        return sorted(ROUND_KEY.unpack(entry[1])[-1] for entry in entries)

    def newest(self, author: ValidatorIndex) -> list[ValidatorVertex]:
        """A validator's vertices of the highest round in which there is one."""
        own = author.to_bytes(2, "big")
        highest = self._native.range(Table.VERTEX_AUTHOR, own, after(own), 1, 0, True)
        if not highest:
            return []
        _sound(Table.VERTEX_AUTHOR, highest[0])
        round_ = AUTHOR_KEY.unpack(highest[0][1])[1]
        slot = AUTHOR_PREFIX.pack(author, round_)
        entries = self._scan(Table.VERTEX_AUTHOR, slot, after(slot))
        found = []
        for seq, vertex in self.read([AUTHOR_KEY.unpack(entry[1])[-1] for entry in entries]):
            if not isinstance(vertex, ValidatorVertex) or vertex.ref[:2] != (round_, author):
                raise StorageError(f"{_name(Table.VERTEX_AUTHOR)}: vertex {seq} is not in slot {slot.hex()}")
            found.append(vertex)
        return found

    def check_indexes(self, seq: int, ref: AnyRef) -> None:
        """StorageError unless every index has the vertex."""
        for table, key in index_keys(seq, ref):
            entries, _ = self._native.keys(table, key, len(key), 0)
            if not entries:
                raise StorageError(f"{_name(table)}: vertex {seq} is missing, {_words(ref)}")
            _sound(table, entries[0])

    def _vertex(self, entry: Entry, known: Mapping[int, AnyRef]) -> Vertex:
        seq = _seq(entry[1])
        if not entry[3]:
            ref = self._ref_of_damaged(seq, entry[2]) or known.get(seq)
            if ref is None:
                raise StorageError(f"vertex {seq} is damaged, and so is its reference")
            raise DamagedVertexError(ref, f"vertex {seq} is damaged: {_words(ref)}")
        ref = decode_ref(entry[2])
        try:
            vertex = decode_vertex(frame_of(entry[2], ref))
        except PeerFault as fault:
            raise StorageError(f"vertex {seq} does not decode: {fault}") from fault
        if vertex.ref != ref:
            raise StorageError(f"vertex {seq} is {_words(vertex.ref)}, stored as {_words(ref)}")
        return vertex

    def _ref_of_damaged(self, seq: int, value: bytes) -> AnyRef | None:
        """What the frame of a damaged record says that it is, or else what stands before it, if the indexes
        say the same."""
        try:
            stored = decode_ref(value)
        except StorageError:
            return None
        for ref in (_ref_of_frame(frame_of(value, stored)), stored):
            if ref is not None and self._is_indexed(seq, ref):
                return ref
        return None

    def _is_indexed(self, seq: int, ref: AnyRef) -> bool:
        try:
            self.check_indexes(seq, ref)
        except StorageError:
            return False
        return True

    # Commits and swap tables

    def commit_bounds(self) -> tuple[int, int] | None:
        """The lowest and the highest index; None without commits."""
        lowest = self._native.range(Table.COMMITS, b"", b"", 1, 0)
        if not lowest:
            return None
        highest = self._native.range(Table.COMMITS, b"", b"", 1, 0, True)
        return _seq(lowest[0][1]), _seq(highest[0][1])

    def commits(self, first: int, last: int) -> list[Commit]:
        """Commits of these indices, all of which are there. StorageError if one is not."""
        if first > last:
            return []
        stop = SEQ.pack(last + 1) if last + 1 < 1 << 64 else b""
        found = [_commit(entry) for entry in self._scan(Table.COMMITS, SEQ.pack(first), stop)]
        indices = [commit.index for commit in found]
        if indices != list(range(first, last + 1)):
            gone = next(index for index in range(first, last + 1) if index not in indices)
            raise StorageError(f"{_name(Table.COMMITS)}: commit {gone} is missing")
        return found

    def check_swaps(self) -> None:
        """StorageError unless every swap table that is counted can be read."""
        found = len([decode_swaps(entry[1], entry[2]) for entry in self._scan(Table.SWAPS, b"", b"")])
        if found != (expected := self._native.count(Table.SWAPS)):
            raise StorageError(f"{_name(Table.SWAPS)}: {found} entries, expected {expected}")

    def swaps(self) -> SwapRecord | None:
        """The swap table of the highest index."""
        newest = self._native.range(Table.SWAPS, b"", b"", 1, 0, True)
        return decode_swaps(newest[0][1], _sound(Table.SWAPS, newest[0])) if newest else None

    # Any table

    def _scan(self, table: Table, start: bytes, stop: bytes) -> Iterator[Entry]:
        while True:
            entries = self._native.range(table, start, stop, _ENTRIES_PER_READ, _BYTES_PER_READ)
            for entry in entries:
                _sound(table, entry)
                yield entry
            if not entries:
                return
            start = entries[-1][1] + b"\0"


def _sound(table: Table, entry: Entry) -> bytes:
    """The value, if its seal fits."""
    _, key, value, is_sound = entry
    if not is_sound:
        raise StorageError(f"{_name(table)}: the value of key {key.hex()} is damaged, {len(value)} bytes")
    return value


def _seq(key: bytes) -> int:
    if len(key) != SEQ.size:
        raise StorageError(f"a key of the log has {len(key)} bytes: {key.hex()}")
    return int.from_bytes(key, "big")


def _commit(entry: Entry) -> Commit:
    index = _seq(entry[1])
    try:
        commit = decode_commit(entry[2])
    except PeerFault as fault:
        raise StorageError(f"commit {index} does not decode: {fault}") from fault
    if commit.index != index:
        raise StorageError(f"the commit stored as {index} has index {commit.index}")
    return commit


def _ref_of_frame(frame: Frame) -> AnyRef | None:
    try:
        return decode_vertex(frame).ref
    except PeerFault:
        return None


def _name(table: Table) -> str:
    return f"table {table.name.lower()}"


def _words(ref: AnyRef) -> str:
    return f"round {round_of(ref)}, digest {ref.digest.hex()}"
