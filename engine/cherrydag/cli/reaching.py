"""A ledger for one command, wherever it is: a folder that nobody has open, a running node's, or a URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from cherrydag.cli.options import Where
from cherrydag.cli.solo import is_address, opened, owner_text
from cherrydag.client import Client
from cherrydag.errors import ConfigError, InUse, Rejected
from cherrydag.genesis import Genesis
from cherrydag.keystore import KeyRefusal, Keystore
from cherrydag.ledger import Ledger
from cherrydag.runtime.home import Home
from cherrydag.runtime.marks import running_node


class Reached(NamedTuple):
    """A ledger to ask. home: where its keys are, None for a URL. client: if a node is asked."""

    ledger: Ledger | Client
    genesis: Genesis
    home: Home | None
    client: Client | None

    def owner(self, text: str) -> str:
        """The address that is meant: an address, or a key in the folder by its name."""
        if self.home is not None:
            return owner_text(self.home, text)
        if not is_address(text):
            raise Rejected(KeyRefusal.UNKNOWN, f"{text}: no address; a URL has no keys that it could name")
        return text

    def fee(self, given: int | None) -> int:
        """What is paid: the chain's least unless a fee is given. The genesis says it, whose digest every
        signature covers, so that no node can make it more."""
        return self.genesis.ledger_params.fee_min if given is None else given

    def keystore(self, given: Path | None) -> Keystore:
        """The keys to sign with. UsageError if none are named."""
        if given is not None:
            if not given.is_dir():
                raise ConfigError(f"{given}: there is no such folder of keys")
            return Keystore(given)
        if self.home is None:
            raise click.UsageError("--keystore: needed with a URL, to sign with")
        return self.home.keystore


@contextmanager
def reached(
    where: Where, url: str | None = None, *, quiet: bool = False, hands_in: bool = False
) -> Iterator[Reached]:
    """The ledger that is meant. quiet: without progress. url: of a node to ask, for the folder's chain.
    hands_in: to submit transactions, for which a network's node must run.

    ConfigError if it is no ledger's folder, or the node is of another chain; InUse if its node has no API.
    """
    if isinstance(where, str):
        if url is not None:
            raise click.UsageError("--url: the ledger is a URL already")
        with Client(where) as client:
            yield Reached(client, client.genesis(), None, client)
        return
    home = home_in(where)
    node_url = url if url is not None else _node_of(where)
    if node_url is not None:
        with Client(node_url, genesis_digest=home.genesis.digest) as client:
            yield Reached(client, home.genesis, home, client)
        return
    with opened(where, quiet=quiet, hands_in=hands_in) as (_, ledger):
        yield Reached(ledger, home.genesis, home, None)


@contextmanager
def node(where: Where, url: str | None = None) -> Iterator[Client]:
    """A node that runs. ConfigError if it does not."""
    if isinstance(where, Path) and url is None:
        home_in(where)
        if _node_of(where) is None:
            raise ConfigError(f"{where}: its node does not run: cherrydag run {where}")
    with reached(where, url) as found:
        if found.client is None:  # it has stopped meanwhile
            raise ConfigError(f"{where}: its node does not run")
        yield found.client


def home_in(folder: Path) -> Home:
    """The ledger in a folder. ConfigError if there is none, which says what may be meant."""
    from cherrydag.devnet.folder import is_devnet

    if is_devnet(folder):
        raise ConfigError(
            f"{folder}: it is a devnet's folder; those of its nodes are {folder / 'v0'} and so on"
        )
    if not folder.exists():
        raise ConfigError(f"{folder}: there is no such folder; the URL of a node begins with http://")
    return Home.load(folder)


def _node_of(folder: Path) -> str | None:
    """The URL of the node that runs in a folder; None if none does."""
    info = running_node(folder)
    if info is None:
        return None
    if not info.api:
        raise InUse(
            f"{folder} is in use: process {info.pid} runs its node, which has no API, or is not up yet"
        )
    return info.api
