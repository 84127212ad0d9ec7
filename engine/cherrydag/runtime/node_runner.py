"""A node of a network: its ledger, its peers, from one folder, on the running event loop."""

import asyncio
import os
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cherrydag.errors import ConfigError
from cherrydag.net.addresses import NOWHERE, Address, Place
from cherrydag.net.control import NONCE_BYTES, PROTOCOL_MAX, PROTOCOL_MIN, Hello
from cherrydag.net.discovery import DiscoveryLimits, Seed
from cherrydag.net.transport import TransportLimits
from cherrydag.primitives import Peer, PublicKey, ValidatorIndex
from cherrydag.runtime.book_file import BookFile
from cherrydag.runtime.clock import Clock
from cherrydag.runtime.events import Tell, tell_nobody
from cherrydag.runtime.freeze import Freeze
from cherrydag.runtime.home import VALIDATOR, Home
from cherrydag.runtime.opening import LedgerOptions, Progress, Running, open_ledger
from cherrydag.runtime.peer_finder import FinderOptions, PeerFinder
from cherrydag.runtime.peers import Peers
from cherrydag.signing import KeyPair

_DRAIN_MS = 1000


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """listen: (IP address, port) for peers, port 0 for any; None: it only dials. known: where peers are, in
    place of what genesis says of the validators; others are dialled too. seeds: nodes to find others through.
    advertise: where others reach this node, if not where it listens; names are looked up at the start. flags:
    of its peer record."""

    listen: tuple[str, int] | None = ("127.0.0.1", 0)
    known: Mapping[PublicKey, tuple[str, int]] = field(default_factory=dict)
    limits: TransportLimits | None = None
    seeds: Sequence[Seed] = ()
    advertise: Sequence[tuple[str, int]] = ()
    discovery: DiscoveryLimits | None = None
    flags: int = 0


class RunningNode:
    """A node that is up. ledger: its books and service; peers: its links."""

    def __init__(self, ledger: Running, peers: Peers, finder: PeerFinder | None = None) -> None:
        self.ledger = ledger
        self.peers = peers
        self.finder = finder

    @property
    def linked_validators(self) -> list[ValidatorIndex]:
        """Those that it is linked with, ascending."""
        count = len(self.ledger.home.genesis.validators)
        return [ValidatorIndex(index) for index in range(count) if Peer(index) in self.peers.links]

    async def close(self) -> None:
        """Say goodbye to the peers, write what waits, let everything go."""
        if self.finder is not None:
            self.finder.close()
        await self.peers.transport.close(_DRAIN_MS)
        await self.ledger.close()


async def start_node(
    home: Home,
    network: NetworkOptions | None = None,
    options: LedgerOptions | None = None,
    progress: Progress | None = None,
    key: KeyPair | None = None,
    freeze: Freeze | None = None,
    tell: Tell = tell_nobody,
) -> RunningNode:
    """Open the ledger in a home, and join its network, unless it is only to be read.

    key, freeze, tell: as open_ledger has them. Raises as open_ledger, OSError if it cannot listen.
    """
    wanted = network or NetworkOptions()
    clock, genesis = Clock(), home.genesis
    key = key or home.key(VALIDATOR)
    committee = genesis.committee()
    indices = {member.public_key: ValidatorIndex(i) for i, member in enumerate(committee.members)}
    hello = Hello(
        version_min=PROTOCOL_MIN,
        version_max=PROTOCOL_MAX,
        chain=genesis.digest,
        epoch=committee.epoch,
        validator=indices.get(key.public_key),
        public_key=key.public_key,
        head=0,
        nonce=os.urandom(NONCE_BYTES),
        listen=NOWHERE,
    )
    chance = random.Random(os.urandom(16))  # noqa: S311 - of pauses between dials
    peers = Peers(key, hello, indices, clock.now_ms, chance, wanted.limits)
    peers.tell = tell
    ledger = await open_ledger(home, options, peers, progress, key, freeze, tell)
    if ledger.freeze is not None:
        return RunningNode(ledger, peers)
    try:
        if ledger.host is not None:
            peers.attach(ledger.host)
        finder = PeerFinder(
            peers.transport,
            key,
            genesis.digest,
            list(indices),
            BookFile(home.folder, genesis.digest),
            clock,
            chance,
            FinderOptions(
                _places(home, wanted),
                wanted.seeds,
                await _addresses(wanted.advertise),
                wanted.flags,
                wanted.discovery,
            ),
        )
        finder.tell = tell
        peers.find_with(finder)
        peers.transport.start(wanted.listen)
        listens_at = NOWHERE
        if wanted.listen is not None:
            listens_at = Address.of(wanted.listen[0], peers.transport.port)
            peers.transport.hello = hello._replace(listen=listens_at)
        finder.start(listens_at)
        for public_key, (host, port) in wanted.known.items():
            if public_key not in indices:
                peers.transport.dial(public_key, host, port)
    except BaseException:
        await peers.transport.close()
        await ledger.close()
        raise
    return RunningNode(ledger, peers, finder)


def _places(home: Home, wanted: NetworkOptions) -> dict[PublicKey, list[Place]]:
    """Where each validator may be dialled."""
    places: dict[PublicKey, list[Place]] = {}
    for validator in home.genesis.validators:
        for text in validator.hosts:
            host, _, port = text.rpartition(":")
            places.setdefault(validator.public_key, []).append(Place(host.strip("[]"), int(port)))
    return places | {key: [Place(*place)] for key, place in wanted.known.items()}


async def _addresses(advertise: Sequence[tuple[str, int]]) -> list[Address]:
    """Names looked up. ConfigError for one that nobody knows."""
    loop, found = asyncio.get_running_loop(), []
    for host, port in advertise:
        try:
            known = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigError(f"advertise: {host}: {error.strerror}") from error
        found.append(Address.of(str(known[0][4][0]), port))
    return found
