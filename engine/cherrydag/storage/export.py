"""The main chain as two Parquet files, for analysis: FOLDER/transactions.parquet and FOLDER/commits.parquet.

transactions  commit u64, position u32, time, id (32 bytes), kind u8, scheme u8, sender, recipient, asset u32,
              amount, fee u64, nonce u64, valid_until u32, status, status_code u8, vertex (its digest), body
commits       commit u64, time, epoch u32, digest, prev_digest, leader_round u32, leader_author u16,
              vertices u32, transactions u32

Times are the main chain's, in UTC. Addresses are text; recipient is null where an operation has none.
amount is text, the decimal digits of an integer of smallest units: no column of numbers that readers share
holds 128 bits (cast it to decimal256, or to UHUGEINT). status is null until the commit has been executed.
Importing this module needs pyarrow: ConfigError without it.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag.address import Network, addresses_of, encode_address
from cherrydag.chain import Chain
from cherrydag.commit import Commit
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import ConfigError, Rejected, StorageError
from cherrydag.params import ADDRESS_BYTES
from cherrydag.payload import payload_ids
from cherrydag.primitives import Address, Digest
from cherrydag.storage.directory import make_folder, sync_folder
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.transaction import Kind, Octets, Records
from cherrydag.vertex import Vertex

try:
    import pyarrow as pa
    from pyarrow import compute, parquet
except ImportError as missing:
    raise ConfigError("export: pyarrow is not installed: pip install 'cherrydag[export]'") from missing

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each commit as (commits done, commits in all)."""

TRANSACTIONS: Final = "transactions.parquet"
COMMITS: Final = "commits.parquet"

GROUP_ROWS: Final = 1 << 16
"""Rows that are gathered for a row group; one vertex more may come on top."""

GROUP_BODY_BYTES: Final = 64 << 20
"""Bytes of bodies that end a row group before it has so many rows."""

_COMMITS_PER_READ: Final = 64
_VERTICES_PER_READ: Final = 16

_Arrow: TypeAlias = Any  # pyarrow comes without types

_TIME: Final = pa.timestamp("ms", "UTC")
_DIGEST: Final = pa.binary(DIGEST_BYTES)

_TRANSACTION_SCHEMA: Final = pa.schema(
    [
        ("commit", pa.uint64()),
        ("position", pa.uint32()),
        ("time", _TIME),
        ("id", _DIGEST),
        ("kind", pa.uint8()),
        ("scheme", pa.uint8()),
        ("sender", pa.string()),
        ("recipient", pa.string()),
        ("asset", pa.uint32()),
        ("amount", pa.string()),
        ("fee", pa.uint64()),
        ("nonce", pa.uint64()),
        ("valid_until", pa.uint32()),
        ("status", pa.string()),
        ("status_code", pa.uint8()),
        ("vertex", _DIGEST),
        ("body", pa.binary()),
    ]
)
_COMMIT_SCHEMA: Final = pa.schema(
    [
        ("commit", pa.uint64()),
        ("time", _TIME),
        ("epoch", pa.uint32()),
        ("digest", _DIGEST),
        ("prev_digest", _DIGEST),
        ("leader_round", pa.uint32()),
        ("leader_author", pa.uint16()),
        ("vertices", pa.uint32()),
        ("transactions", pa.uint32()),
    ]
)


class Exported(NamedTuple):
    """What was written: the first and last commit (0 if there is none), how many transactions, bytes of both
    files."""

    first_commit: int
    last_commit: int
    transactions: int
    bytes: int


def export(
    store: LmdbStore,
    folder: Path,
    *,
    network: Network,
    status_names: Mapping[int, str],
    first_commit: int | None = None,
    last_commit: int | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the commits first_commit to last_commit, all by default, to a new folder: all of it or nothing.

    network: whose addresses. status_names: what to call the status codes; others are status_N.
    Takes memory for one row group, however long the chain is. Raises ConfigError if the folder is there and
    not empty; Rejected if the store does not have these commits; StorageError if something that is read is
    damaged, or the folder cannot be written.
    """
    first, last = _bounds(store, first_commit, last_commit)
    with _made_whole(folder) as unfinished:
        with (
            parquet.ParquetWriter(unfinished / COMMITS, _COMMIT_SCHEMA, compression="zstd") as commits,
            parquet.ParquetWriter(unfinished / TRANSACTIONS, _TRANSACTION_SCHEMA, compression="zstd") as rows,
        ):
            group = _Group(rows, Chain.of(store.identity.genesis_digest), AddressTexts(network), status_names)
            for start in range(first, last + 1, _COMMITS_PER_READ):
                read = store.commits(start, min(last, start + _COMMITS_PER_READ - 1))
                counts = []
                for commit in read:
                    counts.append(_export_commit(store, commit, group))
                    if progress is not None:
                        progress(commit.index - first + 1, last - first + 1)
                commits.write_table(_commit_table(read, counts))
            group.flush()
        written = sum((unfinished / name).stat().st_size for name in (COMMITS, TRANSACTIONS))
    return Exported(first, last, group.written, written)


def _bounds(store: LmdbStore, first: int | None, last: int | None) -> tuple[int, int]:
    """The range that is meant. An empty chain has (0, -1), and no other."""
    bounds = store.commits_bounds()
    if bounds is None:
        if first is not None or last is not None:
            raise Rejected("export_range", "commits: the chain has none yet")
        return 0, -1
    wanted = bounds[0] if first is None else first, bounds[1] if last is None else last
    if not bounds[0] <= wanted[0] <= wanted[1] <= bounds[1]:
        raise Rejected(
            "export_range",
            f"commits: expected a range within {bounds[0]} to {bounds[1]}, got {wanted[0]} to {wanted[1]}",
        )
    return wanted


def _export_commit(store: LmdbStore, commit: Commit, group: "_Group") -> int:
    """Put a commit's transactions into the group; how many they are."""
    outcome = store.outcome(commit.index)
    position = 0
    for start in range(0, len(commit.vertices), _VERTICES_PER_READ):
        refs = commit.vertices[start : start + _VERTICES_PER_READ]
        for number, (ref, vertex) in enumerate(zip(refs, store.vertices(refs), strict=True), start):
            if vertex is None:
                raise StorageError(f"a vertex of commit {commit.index} is missing: {ref.digest.hex()}")
            if not len(vertex.payload):
                continue
            statuses = None if outcome is None else outcome.statuses[number]
            if statuses is not None and len(statuses) != len(vertex.payload):
                raise StorageError(
                    f"the outcome of commit {commit.index} does not fit vertex {ref.digest.hex()}"
                )
            group.add(commit, position, vertex, statuses)
            position += len(vertex.payload)
    return position


# Rows


class _Part(NamedTuple):
    """The transactions of one vertex. statuses: None if they have not been executed."""

    commit: Commit
    position: int
    vertex: Vertex
    ids: bytes
    statuses: Octets | None


class _Group:
    """Gathers the rows of a row group and writes them. written: rows that were."""

    def __init__(
        self, writer: _Arrow, chain: Chain, addresses: "AddressTexts", status_names: Mapping[int, str]
    ) -> None:
        self.written = 0
        self._writer = writer
        self._chain = chain
        self._addresses = addresses
        self._status_names = [status_names.get(code, f"status_{code}") for code in range(256)]
        self._parts: list[_Part] = []
        self._rows = 0
        self._body_bytes = 0

    def add(self, commit: Commit, position: int, vertex: Vertex, statuses: Octets | None) -> None:
        """Take the transactions of a vertex, of which the first has this position in its commit."""
        ids = payload_ids(vertex.payload, self._chain)
        self._parts.append(_Part(commit, position, vertex, ids, statuses))
        self._rows += len(vertex.payload)
        self._body_bytes += len(vertex.payload.bodies)
        if self._rows >= GROUP_ROWS or self._body_bytes >= GROUP_BODY_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self._rows:
            self._writer.write_table(self._table(), row_group_size=self._rows)
            self.written += self._rows
        self._parts, self._rows, self._body_bytes = [], 0, 0

    def _table(self) -> _Arrow:
        records = np.concatenate([part.vertex.payload.records for part in self._parts])
        counts = [len(part.vertex.payload) for part in self._parts]
        positions = [
            np.arange(part.position, part.position + n) for part, n in zip(self._parts, counts, strict=True)
        ]
        senders = addresses_of(np.ascontiguousarray(records["sender"]))
        codes, is_open = self._codes()
        columns = {
            "commit": pa.array(np.repeat([part.commit.index for part in self._parts], counts), pa.uint64()),
            "position": pa.array(np.concatenate(positions).astype(np.uint32)),
            "time": _times(np.repeat([part.commit.timestamp_ms for part in self._parts], counts)),
            "id": _digests([part.ids for part in self._parts]),
            "kind": pa.array(np.ascontiguousarray(records["kind"])),
            "scheme": pa.array(np.ascontiguousarray(records["scheme"])),
            "sender": self._addresses.column(senders),
            "recipient": self._addresses.column(records["recipient"], ~_has_recipient(records)),
            "asset": pa.array(np.ascontiguousarray(records["asset"])),
            "amount": _amounts(records),
            "fee": pa.array(np.ascontiguousarray(records["fee"])),
            "nonce": pa.array(np.ascontiguousarray(records["nonce"])),
            "valid_until": pa.array(np.ascontiguousarray(records["valid_until"])),
            "status": pa.array(self._status_names).take(pa.array(codes, mask=is_open)),
            "status_code": pa.array(codes, mask=is_open),
            "vertex": _digests(
                [part.vertex.digest * n for part, n in zip(self._parts, counts, strict=True)],
            ),
            "body": self._bodies(records),
        }
        return pa.table(columns, schema=_TRANSACTION_SCHEMA)

    def _codes(self) -> tuple[Octets, npt.NDArray[np.bool_]]:
        """Status codes, and which of them are not there yet."""
        codes, is_open = [], []
        for part in self._parts:
            n = len(part.vertex.payload)
            codes.append(np.zeros(n, np.uint8) if part.statuses is None else part.statuses)
            is_open.append(np.full(n, part.statuses is None))
        return np.concatenate(codes), np.concatenate(is_open)

    def _bodies(self, records: Records) -> _Arrow:
        if not self._body_bytes:
            return pa.nulls(len(records), pa.binary())
        payloads = [part.vertex.payload for part in self._parts]
        bodies = [bytes(payload.body(row)) or None for payload in payloads for row in range(len(payload))]
        return pa.array(bodies, pa.binary())


def _has_recipient(records: Records) -> npt.NDArray[np.bool_]:
    """An operation that has none leaves it zero; a transfer always has one."""
    return np.asarray((records["kind"] == Kind.TRANSFER) | records["recipient"].any(axis=1))


def _amounts(records: Records) -> _Arrow:
    """Digits of the amounts: an Arrow decimal256 is four words, of which an amount fills two."""
    words = np.zeros((len(records), 4), np.uint64)
    words[:, 0], words[:, 1] = records["amount_lo"], records["amount_hi"]
    exact = pa.Array.from_buffers(pa.decimal256(39), len(records), [None, pa.py_buffer(words)])
    return compute.cast(exact, pa.string())


def _times(milliseconds: npt.NDArray[Any]) -> _Arrow:
    return pa.array(milliseconds.astype(np.int64)).cast(_TIME)


def _digests(parts: list[bytes] | list[Digest]) -> _Arrow:
    data = b"".join(parts)
    return pa.Array.from_buffers(_DIGEST, len(data) // DIGEST_BYTES, [None, pa.py_buffer(data)])


class AddressTexts:
    """encode_address for whole columns, at a fiftieth of its cost.

    The checksum is linear (BIP-173): that of an address is the XOR of what each byte changes in that of the
    zero address. The tables of these changes, and the alphabet, are read off encode_address itself.
    """

    _CHECK = 6  # symbols of the checksum
    _SYMBOLS = ADDRESS_BYTES * 8 // 5
    _WEIGHTS: Final = np.array([16, 8, 4, 2, 1], np.uint8)

    def __init__(self, network: Network) -> None:
        counting = sum(value << 5 * (self._SYMBOLS - 1 - value) for value in range(self._SYMBOLS))
        text = encode_address(Address(counting.to_bytes(ADDRESS_BYTES, "big")), network)
        self._head = len(text) - self._SYMBOLS - self._CHECK
        self._prefix = np.frombuffer(text[: self._head].encode(), np.uint8)
        self._alphabet = np.frombuffer(text[self._head : -self._CHECK].encode(), np.uint8)
        self._value = {chr(symbol): value for value, symbol in enumerate(self._alphabet.tolist())}
        zero = Address(bytes(ADDRESS_BYTES))
        self._zero_check = self._check_of(encode_address(zero, network))
        self._changes = np.zeros((ADDRESS_BYTES, 256), np.uint32)
        for place in range(ADDRESS_BYTES):
            for bit in range(8):
                unit = bytes(place) + bytes([1 << bit]) + bytes(ADDRESS_BYTES - 1 - place)
                change = self._check_of(encode_address(Address(unit), network)) ^ self._zero_check
                low = 1 << bit
                self._changes[place, low : 2 * low] = self._changes[place, :low] ^ np.uint32(change)

    def column(self, addresses: Octets, is_null: npt.NDArray[np.bool_] | None = None) -> _Arrow:
        """An Arrow column of n texts, of n x 20 bytes of addresses; null where is_null says so."""
        texts = self.encode(addresses)
        offsets = np.arange(len(texts) + 1, dtype=np.int32) * texts.shape[1]
        column = pa.Array.from_buffers(
            pa.string(), len(texts), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(texts.tobytes())]
        )
        if is_null is None or not is_null.any():
            return column
        return compute.if_else(pa.array(is_null), pa.scalar(None, pa.string()), column)

    def encode(self, addresses: Octets) -> Octets:
        """n texts, all of one length: n x characters, ASCII."""
        symbols = np.unpackbits(addresses, axis=1).reshape(-1, self._SYMBOLS, 5) @ self._WEIGHTS
        checks = np.full(len(addresses), self._zero_check, np.uint32)
        for place in range(ADDRESS_BYTES):
            checks ^= self._changes[place][addresses[:, place]]
        texts = np.empty((len(addresses), self._head + self._SYMBOLS + self._CHECK), np.uint8)
        texts[:, : self._head] = self._prefix
        texts[:, self._head : -self._CHECK] = self._alphabet[symbols]
        for place in range(self._CHECK):
            shift = np.uint32(5 * (self._CHECK - 1 - place))
            texts[:, place - self._CHECK] = self._alphabet[checks >> shift & np.uint32(31)]
        return texts

    def _check_of(self, text: str) -> int:
        check = 0
        for character in text[-self._CHECK :]:
            check = check << 5 | self._value[character]
        return check


def _commit_table(commits: Sequence[Commit], counts: list[int]) -> _Arrow:
    columns = {
        "commit": pa.array([commit.index for commit in commits], pa.uint64()),
        "time": _times(np.array([commit.timestamp_ms for commit in commits])),
        "epoch": pa.array([commit.epoch for commit in commits], pa.uint32()),
        "digest": _digests([commit.digest for commit in commits]),
        "prev_digest": _digests([commit.prev_digest for commit in commits]),
        "leader_round": pa.array([commit.leader.round for commit in commits], pa.uint32()),
        "leader_author": pa.array([commit.leader.author for commit in commits], pa.uint16()),
        "vertices": pa.array([len(commit.vertices) for commit in commits], pa.uint32()),
        "transactions": pa.array(counts, pa.uint32()),
    }
    return pa.table(columns, schema=_COMMIT_SCHEMA)


# Files


@contextmanager
def _made_whole(folder: Path) -> Iterator[Path]:
    """A folder that gets its name, durably, when the block has ended well, and else is gone."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: it is there already, and no empty folder")
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    try:
        make_folder(folder.parent)
        unfinished.mkdir()
        yield unfinished
        for path in unfinished.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(unfinished)
        unfinished.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
