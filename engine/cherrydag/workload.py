"""Seeded workloads: signed transfers that a benchmark, a test or a demonstration replays byte for byte.

The keys follow from the seed, which the file carries: they are test keys and keep nothing secret.
"""

import json
import os
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from cherrydag import crypto
from cherrydag.address import addresses_of
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import Rejected, ShapeError
from cherrydag.params import FEE_MIN, RECORD_BYTES, VALID_FOREVER
from cherrydag.signing import KeyPair, Progress, generate_keypair, sign_records
from cherrydag.transaction import Records, Words, as_records, build_transfers, chain_key

KEY_CONTEXT = "cherrydag 2026-11-22 workload test keys v1"

MAGIC = b"CHERRYWL"
VERSION = 1
SPEC_BYTES_MAX = 4096

_HEADER = struct.Struct("<8sIIQ")  # magic, version, size of the spec, number of records
_DEFAULT_GENESIS = bytes(DIGEST_BYTES)
_RANGES = {
    "seed": (0, 2**64 - 1),
    "accounts": (2, 2**31 - 1),
    "transfers": (0, 2**31 - 1),
    "amount_min": (1, 2**64 - 1),
    "amount_max": (1, 2**64 - 1),
    "fee": (0, 2**64 - 1),
    "valid_until": (0, 2**32 - 1),
    "asset": (0, 2**32 - 1),
}

Index = npt.NDArray[np.int64]


class WorkloadError(Rejected):
    """A file is not a workload, or not an intact one. The message names the file and what is wrong.

    Codes: workload_magic, workload_version, workload_size, workload_spec, workload_checksum.
    """

    def __init__(self, path: Path, code: str, message: str) -> None:
        """Refuse the file with the code, less its "workload_"."""
        super().__init__(f"workload_{code}", f"{path}: {message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSpec:
    """What a workload is made from: equal specs give equal bytes.

    accounts: how many keys send and receive. distribution: how both ends are drawn, "uniform" or "zipf", by
    which the account of rank k is drawn in proportion to 1 / k^exponent. Amounts are uniform between
    amount_min and amount_max. genesis_digest: of the chain that the signatures are for.
    Raises ShapeError for a value out of range.
    """

    seed: int
    accounts: int
    transfers: int
    distribution: Literal["uniform", "zipf"] = "uniform"
    exponent: float = 1.0
    amount_min: int = 1
    amount_max: int = 1_000_000
    fee: int = FEE_MIN
    valid_until: int = VALID_FOREVER
    asset: int = 0
    genesis_digest: bytes = _DEFAULT_GENESIS

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ShapeError(f"{name}: expected an integer in {low} .. {high}, got {value!r}")
        if self.amount_min > self.amount_max:
            raise ShapeError(f"amount_min: {self.amount_min} is above amount_max, {self.amount_max}")
        if self.distribution not in ("uniform", "zipf"):
            raise ShapeError(f"distribution: expected 'uniform' or 'zipf', got {self.distribution!r}")
        if type(self.exponent) is not float or not 0 <= self.exponent <= 10:
            raise ShapeError(f"exponent: expected a float in 0 .. 10, got {self.exponent!r}")
        if len(self.genesis_digest) != DIGEST_BYTES:
            raise ShapeError(f"genesis_digest: expected {DIGEST_BYTES} bytes, got {len(self.genesis_digest)}")

    def key_pairs(self) -> list[KeyPair]:
        """The test key of each account; anyone who knows the seed has them."""
        paths = np.empty((self.accounts, 2), dtype="<u8")
        paths[:, 0] = self.seed
        paths[:, 1] = np.arange(self.accounts)
        seeds = crypto.hash_records(paths.view(np.uint8), 0, 16, crypto.derive_key(KEY_CONTEXT, b""))
        return [generate_keypair(seeds[at : at + 32]) for at in range(0, len(seeds), 32)]


@dataclass(frozen=True, slots=True)
class Workload:
    """A spec and the signed records that follow from it."""

    spec: WorkloadSpec
    records: Records


def generate(spec: WorkloadSpec, progress: Progress | None = None, processes: int = 1) -> Workload:
    """Build and sign the transfers of a spec; progress and processes as in sign_records.

    Each sender's nonces count up from 0 in the order of the records, and nobody sends to itself.
    """
    keys = spec.key_pairs()
    publics = np.frombuffer(b"".join(key.public_key for key in keys), dtype=np.uint8).reshape(-1, 32)
    source = np.random.PCG64(spec.seed)
    senders, recipients = _draw_ends(spec, source)
    span = np.uint64(spec.amount_max - spec.amount_min + 1)
    records = build_transfers(
        senders=publics[senders],
        recipients=addresses_of(publics)[recipients],
        amounts=source.random_raw(spec.transfers) % span + np.uint64(spec.amount_min),
        nonces=_sequence_numbers(senders),
        fee=spec.fee,
        valid_until=spec.valid_until,
        asset=spec.asset,
    )
    key = chain_key(spec.genesis_digest)
    sign_records(records, key, keys, senders, progress=progress, processes=processes)
    return Workload(spec, records)


def write(workload: Workload, path: Path) -> None:
    """Write a workload to `path`, all of it or nothing: to a neighbour file, synced, then renamed."""
    records = np.ascontiguousarray(workload.records)
    head = _encode_head(workload.spec, len(records))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(head)
            file.write(_checksum(head, records))
            file.write(records.data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path) -> Workload:
    """Read a workload, its records read-only; WorkloadError unless every byte is as it was written.

    Sizes are checked against the file's before memory is taken for them.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        fixed = file.read(_HEADER.size)
        if len(fixed) < _HEADER.size:
            raise WorkloadError(path, "size", f"{size} bytes are too few for a workload's header")
        magic, version, spec_size, count = _HEADER.unpack(fixed)
        if magic != MAGIC:
            raise WorkloadError(
                path, "magic", f"not a workload file: it starts with {magic!r}, not {MAGIC!r}"
            )
        if version != VERSION:
            raise WorkloadError(path, "version", f"workload version {version}; this reads version {VERSION}")
        if spec_size > SPEC_BYTES_MAX:
            raise WorkloadError(
                path, "size", f"a spec of {spec_size} bytes; at most {SPEC_BYTES_MAX} are allowed"
            )
        expected = _HEADER.size + spec_size + DIGEST_BYTES + count * RECORD_BYTES
        if size != expected:
            raise WorkloadError(
                path, "size", f"expected {expected} bytes for {count} records, the file has {size}"
            )
        encoded = file.read(spec_size)
        checksum = file.read(DIGEST_BYTES)
        content = file.read(count * RECORD_BYTES)
    if _checksum(fixed + encoded, content) != checksum:
        raise WorkloadError(path, "checksum", "the checksum does not match: the file is damaged")
    return Workload(_decode_spec(path, encoded, count), as_records(content))


def _draw_ends(spec: WorkloadSpec, source: np.random.PCG64) -> tuple[Index, Index]:
    """Sender and recipient of each transfer, as places among the accounts, never equal."""
    place_of_rank = np.argsort(source.random_raw(spec.accounts), kind="stable")
    senders = place_of_rank[_draw_ranks(spec, source)]
    recipients = place_of_rank[_draw_ranks(spec, source)]
    return senders, np.where(recipients == senders, (recipients + 1) % spec.accounts, recipients)


def _draw_ranks(spec: WorkloadSpec, source: np.random.PCG64) -> Index:
    """Draw one rank per transfer from the spec's distribution.

    Only raw words of PCG64 are used: numpy keeps those stable from version to version, its samplers not. The
    power's last bit may differ between CPUs, which moves about one draw in 10^15.
    """
    uniform = (source.random_raw(spec.transfers) >> np.uint64(11)) * 2.0**-53
    if spec.distribution == "uniform":
        return (uniform * spec.accounts).astype(np.int64)
    cumulative = np.cumsum(np.arange(1, spec.accounts + 1, dtype=np.float64) ** -spec.exponent)
    ranks: Index = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return np.minimum(ranks, spec.accounts - 1)


def _sequence_numbers(groups: Index) -> Words:
    """For each row, how many rows before it are of the same group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    places = np.arange(len(groups))
    is_first = np.ones(len(groups), dtype=np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    numbers = np.empty(len(groups), dtype=np.uint64)
    numbers[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return numbers


def _encode_head(spec: WorkloadSpec, count: int) -> bytes:
    fields = asdict(spec) | {"genesis_digest": spec.genesis_digest.hex()}
    encoded = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return _HEADER.pack(MAGIC, VERSION, len(encoded), count) + encoded


def _decode_spec(path: Path, encoded: bytes, count: int) -> WorkloadSpec:
    try:
        fields = json.loads(encoded)
        spec = WorkloadSpec(**fields | {"genesis_digest": bytes.fromhex(fields["genesis_digest"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WorkloadError(path, "spec", f"the spec cannot be read: {error}") from error
    if spec.transfers != count:
        raise WorkloadError(path, "spec", f"the spec is of {spec.transfers} transfers, the file has {count}")
    return spec


def _checksum(head: bytes, records: crypto.BytesLike) -> bytes:
    return crypto.hash_bytes(head + crypto.hash_bytes(records))
