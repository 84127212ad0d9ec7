"""Vertices as they lie in the database: a record is checked against its seal, its key and the indexes.

What is there and wrong raises StorageError; a damaged record DamagedVertexError, since it can be had again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from cherrydag._native.store import Store
from cherrydag.codec import Frame, decode_vertex
from cherrydag.errors import PeerFault, StorageError
from cherrydag.layout import TAGGED_OPERATOR_REF
from cherrydag.primitives import Round, ValidatorIndex
from cherrydag.refs import AnyRef, pack_refs, round_of
from cherrydag.storage.entry import BYTES_PER_READ, ENTRIES_PER_READ, Entry, name_of, scan, seq_of, sound
from cherrydag.storage.schema import (
    AUTHOR_KEY,
    AUTHOR_PREFIX,
    DIGEST_KEY,
    PREFIX_BYTES,
    ROUND_KEY,
    ROUND_PREFIX,
    SEQ,
    DamagedVertexError,
    Table,
    above_round,
    after,
    decode_ref,
    frame_of,
    index_keys,
)
from cherrydag.vertex import ValidatorVertex, Vertex

_INDEXES: Final = 2
"""Indexes by digest; a vertex that only one of them has is damage."""


class VertexReader:
    """Reads the vertices of an open native store."""

    __slots__ = ("_native",)

    def __init__(self, native: Store) -> None:
        self._native = native

    def next_seq(self) -> int:
        """The sequence number of the next vertex."""
        newest = self._native.range(Table.VERTICES, b"", b"", 1, 0, True)
        return seq_of(newest[0][1]) + 1 if newest else 0

    def vertices(self, refs: Sequence[AnyRef]) -> list[Vertex | None]:
        """The vertices of these references, None where one is not there."""
        candidates = self.candidates(refs)
        known = {seq: ref for ref, seqs in zip(refs, candidates, strict=True) for seq in seqs}
        by_seq = dict(self.read(sorted(known), known))
        found: list[Vertex | None] = []
        for ref, seqs in zip(refs, candidates, strict=True):
            seq = next((seq for seq in seqs if by_seq[seq].ref == ref), None)
            if seq is not None and seqs[seq] != _INDEXES:
                raise StorageError(f"an index lacks vertex {seq}: {words_of(ref)}")
            found.append(None if seq is None else by_seq[seq])
        return found

    def named(self, prefix: bytes) -> list[Vertex]:
        """The vertices whose digests begin with these PREFIX_BYTES, in the order they were written."""
        entries = self._native.prefixes(Table.VERTEX_DIGEST, prefix, PREFIX_BYTES)
        seqs = []
        for entry in entries:
            sound(Table.VERTEX_DIGEST, entry)
            seqs.append(DIGEST_KEY.unpack(entry[1])[-1])
        return [vertex for _, vertex in self.read(sorted(seqs)) if vertex.digest.startswith(prefix)]

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
                sound(table, entry)
                seq = layout.unpack(entry[1])[-1]
                found[entry[0]][seq] = found[entry[0]].get(seq, 0) + 1
        return found

    def seqs(self, refs: Sequence[AnyRef]) -> list[int | None]:
        """The sequence numbers of these references, None where one is not there. Only what the records begin
        with is read, unless one says something else than the indexes."""
        found: list[int | None] = []
        for seq in self.locate(refs):
            if isinstance(seq, StorageError):
                raise seq
            found.append(seq)
        return found

    def locate(self, refs: Sequence[AnyRef]) -> list[int | StorageError | None]:
        """As `seqs`, but what is wrong stands in the place of the vertex."""
        candidates = self.candidates(refs)
        keys = b"".join([SEQ.pack(seq) for seqs in candidates for seq in seqs])
        heads = self._native.heads(Table.VERTICES, keys, SEQ.size, TAGGED_OPERATOR_REF.size)
        stored = {seq_of(key): value for _, key, value, _ in heads}
        return [self._locate(ref, seqs, stored) for ref, seqs in zip(refs, candidates, strict=True)]

    def _locate(
        self, ref: AnyRef, seqs: Mapping[int, int], stored: Mapping[int, bytes]
    ) -> int | StorageError | None:
        packed = pack_refs([ref])
        for seq, indexes in seqs.items():
            if stored.get(seq, b"").startswith(packed):
                if indexes != _INDEXES:
                    return StorageError(f"an index lacks vertex {seq}: {words_of(ref)}")
                return seq
        for _, vertex in self.examine(list(seqs), dict.fromkeys(seqs, ref)):
            if isinstance(vertex, StorageError):
                return vertex
        return None

    def examine(
        self, seqs: Sequence[int], known: Mapping[int, AnyRef] | None = None
    ) -> Iterator[tuple[int, Vertex | StorageError]]:
        """These vertices, in this order, or what is wrong with them. known: references under which the
        indexes have them, for the report if a record is damaged from its beginning."""
        at = 0
        while at < len(seqs):
            some = seqs[at : at + ENTRIES_PER_READ]
            keys = b"".join([SEQ.pack(seq) for seq in some])
            entries, done = self._native.keys(Table.VERTICES, keys, SEQ.size, BYTES_PER_READ)
            there = {entry[0]: entry for entry in entries}
            for row, seq in enumerate(some[:done]):
                entry = there.pop(row, None)
                yield seq, self._vertex(seq, entry, known or {})
            at += done

    def read(
        self, seqs: Sequence[int], known: Mapping[int, AnyRef] | None = None
    ) -> Iterator[tuple[int, Vertex]]:
        """These vertices, in this order. StorageError if one is not there; known: as in `examine`."""
        for seq, vertex in self.examine(seqs, known):
            if isinstance(vertex, StorageError):
                raise vertex
            yield seq, vertex

    def check_record(self, seq: int, ref: AnyRef) -> None:
        """DamagedVertexError if this record is damaged; `ref` is what the indexes have it under."""
        for _ in self.read([seq], {seq: ref}):
            pass

    def seqs_above(self, round_: Round) -> list[int]:
        """Sequence numbers of the vertices of higher rounds, rising."""
        start = above_round(round_)
        if start is None:
            return []
        entries = scan(self._native, Table.VERTEX_ROUND, start)
        return sorted(ROUND_KEY.unpack(entry[1])[-1] for entry in entries)

    def newest(self, author: ValidatorIndex) -> list[ValidatorVertex]:
        """A validator's vertices of the highest round in which there is one."""
        own = author.to_bytes(2, "big")
        highest = self._native.range(Table.VERTEX_AUTHOR, own, after(own), 1, 0, True)
        if not highest:
            return []
        sound(Table.VERTEX_AUTHOR, highest[0])
        round_ = AUTHOR_KEY.unpack(highest[0][1])[1]
        slot = AUTHOR_PREFIX.pack(author, round_)
        entries = scan(self._native, Table.VERTEX_AUTHOR, slot, after(slot))
        found = []
        for seq, vertex in self.read([AUTHOR_KEY.unpack(entry[1])[-1] for entry in entries]):
            if not isinstance(vertex, ValidatorVertex) or vertex.ref[:2] != (round_, author):
                raise StorageError(
                    f"{name_of(Table.VERTEX_AUTHOR)}: vertex {seq} is not in slot {slot.hex()}"
                )
            found.append(vertex)
        return found

    def check_indexes(self, seq: int, ref: AnyRef) -> None:
        """StorageError unless every index has the vertex."""
        for table, words in self.index_faults({seq: ref}):
            raise StorageError(f"{name_of(table)}: {words}")

    def index_faults(self, refs: Mapping[int, AnyRef]) -> list[tuple[Table, str]]:
        """Where the indexes lack these vertices, which are given by sequence number."""
        wanted: dict[Table, list[tuple[int, bytes]]] = {}
        for seq, ref in refs.items():
            for table, key in index_keys(seq, ref):
                wanted.setdefault(table, []).append((seq, key))
        faults = []
        for table, keys in wanted.items():
            packed = b"".join([key for _, key in keys])
            entries, _ = self._native.keys(table, packed, len(keys[0][1]), BYTES_PER_READ)
            is_sound = {entry[0]: entry[3] for entry in entries}
            for row, (seq, _) in enumerate(keys):
                if not is_sound.get(row):
                    how = "damaged" if row in is_sound else "missing"
                    faults.append((table, f"vertex {seq} is {how}, {words_of(refs[seq])}"))
        return faults

    def _vertex(self, seq: int, entry: Entry | None, known: Mapping[int, AnyRef]) -> Vertex | StorageError:
        if entry is None:
            return StorageError(f"{name_of(Table.VERTICES)}: vertex {seq} is missing")
        if not entry[3]:
            named = self._ref_of_damaged(seq, entry[2]) or known.get(seq)
            if named is None:
                return StorageError(f"vertex {seq} is damaged, and so is its reference")
            return DamagedVertexError(named, f"vertex {seq} is damaged: {words_of(named)}")
        try:
            ref = decode_ref(entry[2])
            vertex = decode_vertex(frame_of(entry[2], ref))
        except (PeerFault, StorageError) as fault:
            return StorageError(f"vertex {seq} does not decode: {fault}")
        if vertex.ref != ref:
            return StorageError(f"vertex {seq} is {words_of(vertex.ref)}, stored as {words_of(ref)}")
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


def _ref_of_frame(frame: Frame) -> AnyRef | None:
    try:
        return decode_vertex(frame).ref
    except PeerFault:
        return None


def words_of(ref: AnyRef) -> str:
    """What messages call a vertex."""
    return f"round {round_of(ref)}, digest {ref.digest.hex()}"
