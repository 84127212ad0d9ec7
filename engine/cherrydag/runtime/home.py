"""The folder of a node: what lies where, and how a new one comes to be.

genesis.toml    the chain's start; its digest is the chain's identity
keys/           the keystore: "validator", and of a solo chain "treasury"
sign-state      what the validator's key has signed; apart from the data, so that losing them loses no vote
data/           the store, and data/derived what a restart begins with
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cherrydag import crypto, genesis_file
from cherrydag.address import Network
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.errors import ConfigError, StorageError
from cherrydag.genesis import Allocation, Genesis, LedgerParams, Validator, decode_genesis
from cherrydag.keystore import Keystore
from cherrydag.primitives import Amount, PublicKey, Stake, TimestampMs
from cherrydag.signing import KeyPair
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.sign_state import SignKey, SignStateFile

GENESIS: Final = "genesis.toml"
KEYS: Final = "keys"
SIGN_STATE: Final = "sign-state"
DATA: Final = "data"

GENESIS_KEPT: Final = ".genesis"
"""The genesis as bytes; it may be deleted at any time."""

_KEPT_KEY: Final = crypto.derive_key("cherrydag 2026-11-22 kept genesis v1", b"")

VALIDATOR: Final = "validator"
TREASURY: Final = "treasury"

COIN: Final = 10**18
"""Smallest units of one native coin."""

SOLO_SUPPLY: Final = Amount(10**9 * COIN)
"""What the treasury of a new solo chain begins with, unless it is told otherwise."""


SOLO_CHECKPOINT_COMMITS: Final = 32
"""Commits between two roots of a solo chain: under load each has thousands of transactions, and what changes
again before the next root is hashed once. A proof that is asked for in between makes a root of its own."""


@dataclass(frozen=True, slots=True)
class Home:
    """A node's folder, which exists and is complete. Its keys have no password unless one is given."""

    folder: Path
    genesis: Genesis

    @classmethod
    def load(cls, folder: Path) -> "Home":
        """The home in a folder. ConfigError if it is none, or its genesis is wrong."""
        path = folder / GENESIS
        if not path.is_file():
            raise ConfigError(f"{folder}: there is no {GENESIS}, so this is no ledger's folder")
        return cls(folder, _load_genesis(path))

    @property
    def data(self) -> Path:
        """Folder of the store."""
        return self.folder / DATA

    @property
    def keystore(self) -> Keystore:
        """The node's keys."""
        return Keystore(self.folder / KEYS)

    def key(self, name: str, password: str | None = None) -> KeyPair:
        """One of them."""
        return self.keystore.load(name, password)

    def sign_key(self, public_key: PublicKey) -> SignKey:
        """What its sign-state file is bound to."""
        committee = self.genesis.committee()
        return SignKey(self.genesis.digest, committee.epoch, public_key)

    def sign_state(self, public_key: PublicKey) -> SignStateFile:
        """The validator's sign-state file. StorageError if it is missing: a key may have signed before."""
        return SignStateFile(self.folder / SIGN_STATE, self.sign_key(public_key))


def is_home(folder: Path) -> bool:
    """Whether a ledger's folder is there."""
    return (folder / GENESIS).is_file()


def create_solo(
    folder: Path,
    *,
    created_ms: TimestampMs,
    supply: Amount = SOLO_SUPPLY,
    modules: Iterable[str] = (),
    name: str = "solo",
    network: Network = Network.DEV,
    allocations: Iterable[Allocation] = (),
) -> Home:
    """Make the folder of a chain with one validator. All of it is there afterwards, or nothing.

    allocations: who begins with what; without any, the supply goes to a new key, "treasury".
    Raises ConfigError if the folder is there and not empty, or a value is out of range.
    """
    with _made_whole(folder) as unfinished:
        keystore = Keystore(unfinished / KEYS)
        validator = keystore.create(VALIDATOR, None)
        owners = tuple(allocations)
        if not owners:
            owners = (Allocation(keystore.create(TREASURY, None).address, supply),)
        genesis = Genesis(
            name,
            network,
            created_ms,
            (Validator(VALIDATOR, validator.public_key, Stake(1)),),
            owners,
            tuple(modules),
            ChainParams(checkpoint_commits=SOLO_CHECKPOINT_COMMITS),
            LedgerParams(),
        )
        complete(Home(unfinished, genesis), validator.public_key)
    return Home(folder, genesis)


def create_network(
    folder: Path,
    hosts: Sequence[str],
    *,
    created_ms: TimestampMs,
    supply: Amount = SOLO_SUPPLY,
    modules: Iterable[str] = (),
    name: str = "devnet",
    allocations: Iterable[Allocation] = (),
    chain_params: ChainParams | None = None,
    ledger_params: LedgerParams | None = None,
) -> list[Home]:
    """Make the folders of a chain's validators, FOLDER/v0 and so on: a network for trying things, since all
    keys come to lie in one place. All of it is there afterwards, or nothing.

    hosts: "host:port" of each. The supply goes to the treasury, whose key is in v0; allocations are what
    others have beside it. Raises as create_solo.
    """
    with _made_whole(folder) as unfinished:
        stores = [Keystore(unfinished / f"v{index}" / KEYS) for index in range(len(hosts))]
        for index in range(len(hosts)):
            (unfinished / f"v{index}").mkdir(mode=0o700)
        keys = [store.create(VALIDATOR, None) for store in stores]
        treasury = stores[0].create(TREASURY, None)
        genesis = Genesis(
            name,
            Network.DEV,
            created_ms,
            tuple(
                Validator(f"v{index}", key.public_key, Stake(1), (host,) if host else ())
                for index, (key, host) in enumerate(zip(keys, hosts, strict=True))
            ),
            (Allocation(treasury.address, supply), *allocations),
            tuple(modules),
            chain_params or ChainParams(),
            ledger_params or LedgerParams(),
        )
        for index, key in enumerate(keys):
            complete(Home(unfinished / f"v{index}", genesis), key.public_key)
    return [Home(folder / f"v{index}", genesis) for index in range(len(hosts))]


def create_node(
    folder: Path, genesis: Genesis, key: tuple[Keystore, str] | None = None, password: str | None = None
) -> Home:
    """Make the folder of a node of a chain whose genesis is there. All of it is there afterwards, or nothing.

    key: the node's, a keystore's by its name, which is copied as it is and must never have signed; None makes
    a new one, with this password or none. Raises as create_solo.
    """
    with _made_whole(folder) as unfinished:
        keystore = Keystore(unfinished / KEYS)
        made = keystore.create(VALIDATOR, password) if key is None else keystore.add_copy(VALIDATOR, *key)
        complete(Home(unfinished, genesis), made.public_key)  # it may come to issue, as an operator
    return Home(folder, genesis)


def complete(home: Home, validator: PublicKey | None) -> None:
    """Write what a home whose keys are made still lacks. validator: a key that has never signed."""
    if validator is not None:
        SignStateFile(home.folder / SIGN_STATE, home.sign_key(validator), create=True).close()
    path = home.folder / GENESIS
    path.write_text(genesis_file.dumps(home.genesis))
    _sync(path)
    _sync(home.folder)


def _load_genesis(path: Path) -> Genesis:
    """What the file says. Its bytes as a node uses them are kept beside it, under a digest of both: reading
    the addresses of 20,000 allocations as text took a third of a start."""
    kept = path.with_name(GENESIS_KEPT)
    with suppress(OSError, ConfigError):
        text, found = path.read_bytes(), kept.read_bytes()
        if found[: crypto.DIGEST_BYTES] == _kept_digest(text, found[crypto.DIGEST_BYTES :]):
            return decode_genesis(found[crypto.DIGEST_BYTES :])
    genesis = genesis_file.load(path)
    with suppress(OSError):
        unfinished = kept.with_name(f"{GENESIS_KEPT}.new")
        unfinished.write_bytes(_kept_digest(path.read_bytes(), genesis.encoding) + genesis.encoding)
        unfinished.rename(kept)
    return genesis


def _kept_digest(text: bytes, encoding: bytes) -> bytes:
    return crypto.hash_bytes(crypto.hash_bytes(text, _KEPT_KEY) + encoding, _KEPT_KEY)


def copy_home(home: Home, store: LmdbStore, target: Path) -> None:
    """Copy a home whose store is in use, keys included, so that it can be opened at the new place.

    The sign-state comes last: it is at least as high as what the copied log has.
    """
    with _made_whole(target) as unfinished:
        store.backup(unfinished / DATA)
        shutil.copytree(home.folder / KEYS, unfinished / KEYS)
        if (home.folder / SIGN_STATE).exists():  # a validator's
            shutil.copyfile(home.folder / SIGN_STATE, unfinished / SIGN_STATE)
            (unfinished / SIGN_STATE).chmod(0o600)
        shutil.copyfile(home.folder / GENESIS, unfinished / GENESIS)
        for path in sorted(unfinished.rglob("*")):
            _sync(path)


class _made_whole:  # noqa: N801 - a context manager, used like a function
    """A folder that gets its name when the block has ended well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")

    def __enter__(self) -> Path:
        if self._folder.exists() and (not self._folder.is_dir() or any(self._folder.iterdir())):
            raise ConfigError(f"{self._folder}: it is there already, and neither a ledger's folder nor empty")
        try:
            self._unfinished.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise StorageError(f"{self._unfinished}: {error.strerror}") from error
        return self._unfinished

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            shutil.rmtree(self._unfinished, ignore_errors=True)
            return
        try:
            self._unfinished.rename(self._folder)
            _sync(self._folder.parent)
        except OSError as refused:
            shutil.rmtree(self._unfinished, ignore_errors=True)
            raise StorageError(f"{self._folder}: {refused.strerror}") from refused


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
