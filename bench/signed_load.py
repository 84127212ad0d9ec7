"""Signed transfers for a solo chain with fixed keys.

The chain's genesis follows from the spec alone, so its digest and the signatures can be had again: a workload
that was kept needs no signing.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cherrydag import crypto
from cherrydag.address import Network, address_of
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import ConfigError
from cherrydag.genesis import Allocation, Genesis, Validator
from cherrydag.keystore import Keystore
from cherrydag.params import ADDRESS_BYTES, RECORD_BYTES
from cherrydag.primitives import Amount, Stake, TimestampMs
from cherrydag.runtime.home import KEYS, VALIDATOR, Home, complete
from cherrydag.signing import SEED_BYTES, KeyPair, Progress, sign_records
from cherrydag.transaction import Octets, Records, Words, build_transfers
from cherrydag.workload import WorkloadSpec

CREATED_MS: Final = TimestampMs(1_790_000_000_000)
FUNDS: Final = Amount(10**24)
AMOUNT_MAX: Final = 1_000_000
SENDERS_MAX: Final = 65_536

_RECIPIENT_CONTEXT: Final = "cherrydag 2026-11-22 pipeline bench recipients v1"


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """Equal specs give the same chain and the same signed transfers.

    senders hold all coins at genesis; both ends are drawn uniformly. A recipient's account comes to be when
    it is first paid. ConfigError for a value out of range.
    """

    transfers: int
    senders: int
    recipients: int
    seed: int = 1

    def __post_init__(self) -> None:
        for name, most in (("transfers", 2**31), ("senders", SENDERS_MAX), ("recipients", 2**31)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name}: expected 1 to {most}, got {getattr(self, name)}")

    def keys(self) -> tuple[list[KeyPair], KeyPair]:
        """Of the senders, and of the validator."""
        *senders, validator = WorkloadSpec(seed=self.seed, accounts=self.senders + 1, transfers=0).key_pairs()
        return senders, validator

    def genesis(self, senders: list[KeyPair], validator: KeyPair) -> Genesis:
        """The chain that the transfers are signed for."""
        return Genesis(
            "pipeline",
            Network.DEV,
            CREATED_MS,
            (Validator(VALIDATOR, validator.public_key, Stake(1)),),
            tuple(Allocation(address_of(key.public_key), FUNDS) for key in senders),
            ("anchor", "assets", "multisig"),
            ChainParams(checkpoint_commits=1),
        )


def make_home(folder: Path, genesis: Genesis, validator: KeyPair) -> Home:
    """A solo ledger's folder with this genesis and key."""
    folder.mkdir(mode=0o700, parents=True)
    Keystore(folder / KEYS).add(VALIDATOR, validator.secret_key[:SEED_BYTES], None)
    home = Home(folder, genesis)
    complete(home, validator.public_key)
    return home


# Workload


def signed_transfers(
    spec: LoadSpec, senders: list[KeyPair], genesis: Genesis, processes: int, progress: Progress
) -> Records:
    """The transfers of a spec. A sender's nonces count up from 0 in the order of the records."""
    source = np.random.PCG64(spec.seed)
    rows = source.random_raw(spec.transfers) % np.uint64(spec.senders)
    recipients = np.unique(
        source.random_raw(spec.transfers) % np.uint64(spec.recipients), return_inverse=True
    )
    publics = np.frombuffer(b"".join(key.public_key for key in senders), np.uint8).reshape(-1, 32)
    records = build_transfers(
        senders=publics[rows],
        recipients=_recipient_addresses(recipients[0])[recipients[1]],
        amounts=source.random_raw(spec.transfers) % np.uint64(AMOUNT_MAX) + np.uint64(1),
        nonces=_places_within(rows),
    )
    key = genesis.chain().transaction_key
    sign_records(records, key, senders, rows.astype(np.int64), progress=progress, processes=processes)
    return records


def _recipient_addresses(numbers: Words) -> Octets:
    key = crypto.derive_key(_RECIPIENT_CONTEXT, b"")
    hashes = crypto.hash_records(np.ascontiguousarray(numbers).view(np.uint8).reshape(-1, 8), 0, 8, key)
    return np.frombuffer(hashes, np.uint8).reshape(-1, DIGEST_BYTES)[:, :ADDRESS_BYTES]


def _places_within(groups: Words) -> Words:
    """For each row, how many rows before it are of the same group."""
    order = np.argsort(groups, kind="stable")
    _, firsts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    places = np.empty(len(groups), np.uint64)
    places[order] = np.arange(len(groups)) - np.repeat(firsts, counts)
    return places


def write_workload(path: Path, spec: LoadSpec, genesis: Genesis, records: Records) -> None:
    """Keep signed transfers: a line that says what they are, then the records."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(_head(spec, genesis, records) + b"\n")
        file.write(np.ascontiguousarray(records).data)
    draft.replace(path)


def read_workload(path: Path, spec: LoadSpec, genesis: Genesis) -> bytes | None:
    """The octets of a workload that was kept; None if there is none. ConfigError if it is another's or
    damaged."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        head, frames = file.readline().rstrip(b"\n"), file.read()
    if len(frames) % RECORD_BYTES or head != _head(spec, genesis, np.frombuffer(frames, np.uint8)):
        raise ConfigError(f"{path}: not the workload of {spec}, or damaged; remove it to sign anew")
    return frames


def read_frames(path: Path, held: int, transfers: int) -> bytes:
    """The octets of the first transfers of a workload that holds so many, unchecked."""
    with path.open("rb") as file:
        file.seek(-held * RECORD_BYTES, os.SEEK_END)
        return file.read(transfers * RECORD_BYTES)


def _head(spec: LoadSpec, genesis: Genesis, records: crypto.BytesLike) -> bytes:
    checksum = crypto.hash_bytes(records).hex()
    return json.dumps({**asdict(spec), "genesis": genesis.digest.hex(), "checksum": checksum}).encode()
