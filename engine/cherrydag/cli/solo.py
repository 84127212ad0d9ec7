"""A ledger's folder that nobody has open, opened for one command."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cherrydag.address import Network, encode_address
from cherrydag.cli.output import progress_bar
from cherrydag.errors import ConfigError, Rejected
from cherrydag.keystore import KeyRefusal, Keystore, StoredKey
from cherrydag.ledger import Ledger
from cherrydag.mempool import MempoolLimits
from cherrydag.primitives import Address
from cherrydag.runtime.home import Home
from cherrydag.runtime.opening import LedgerOptions

_SMALL = LedgerOptions(
    mempool=MempoolLimits(transactions_max=1024, recent_max=1024, body_bytes_max=1 << 20)
)  # one command hands in one transaction


@contextmanager
def opened(folder: Path, *, quiet: bool = False, hands_in: bool = False) -> Iterator[tuple[Home, Ledger]]:
    """The ledger in a folder that is there, closed at the end. quiet: without progress. hands_in: to submit
    transactions; else it is only to be read, of whatever node it is.

    ConfigError if it is no ledger's folder, or is to sequence and has not all of its chain's validators.
    """
    home = Home.load(folder)
    members = len(home.genesis.validators)
    if hands_in and members > 1:
        raise ConfigError(
            f"{folder}: its chain has {members} validators, so its node must run: cherrydag run {folder}"
        )
    with progress_bar("replaying the log", hidden=quiet) as progress:
        ledger = Ledger.open(folder, options=replace(_SMALL, only_reads=not hands_in), progress=progress)
    with ledger:
        yield home, ledger


def find_key(keystore: Keystore, name: str) -> StoredKey:
    """A key by its name. Rejected if there is none."""
    for key in keystore.list_keys():
        if key.name == name:
            return key
    raise Rejected(KeyRefusal.UNKNOWN, f"{name}: there is no key of that name")


def owner_text(home: Home, text: str) -> str:
    """The text of the address that is meant: an address, or the name of a key in the keystore."""
    network = home.genesis.network
    if is_address(text):
        return text
    return encode_address(find_key(home.keystore, text).address, network)


def is_address(text: str) -> bool:
    """Whether it is meant as an address, of whatever network: no key has such a name."""
    return any(text.lower().startswith(f"{prefix}1") for prefix in Network)


def address_text(home: Home, address: Address) -> str:
    """An address on the home's network."""
    return encode_address(address, home.genesis.network)
