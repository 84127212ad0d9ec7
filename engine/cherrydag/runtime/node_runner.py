"""A node of a network: its ledger, its peers, from one folder, on the running event loop."""

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from cherrydag.net.control import NONCE_BYTES, NOWHERE, PROTOCOL_MAX, PROTOCOL_MIN, Address, Hello
from cherrydag.net.transport import TransportLimits
from cherrydag.primitives import Peer, PublicKey, ValidatorIndex
from cherrydag.runtime.clock import Clock
from cherrydag.runtime.home import VALIDATOR, Home
from cherrydag.runtime.opening import LedgerOptions, Progress, Running, open_ledger
from cherrydag.runtime.peers import Peers

_DRAIN_MS = 1000


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """listen: (IP address, port) for peers, port 0 for any; None: it only dials. known: where peers are, in
    place of what genesis says of the validators."""

    listen: tuple[str, int] | None = ("127.0.0.1", 0)
    known: Mapping[PublicKey, tuple[str, int]] = field(default_factory=dict)
    limits: TransportLimits | None = None


class RunningNode:
    """A node that is up. ledger: its books and service; peers: its links."""

    def __init__(self, ledger: Running, peers: Peers) -> None:
        self.ledger = ledger
        self.peers = peers

    @property
    def linked_validators(self) -> list[ValidatorIndex]:
        """Those that it is linked with, ascending."""
        count = len(self.ledger.home.genesis.validators)
        return [ValidatorIndex(index) for index in range(count) if Peer(index) in self.peers.links]

    async def close(self) -> None:
        """Say goodbye to the peers, write what waits, let everything go."""
        await self.peers.transport.close(_DRAIN_MS)
        await self.ledger.close()


async def start_node(
    home: Home,
    network: NetworkOptions | None = None,
    options: LedgerOptions | None = None,
    progress: Progress | None = None,
) -> RunningNode:
    """Open the ledger in a home, and join its network. Raises as open_ledger, OSError if it cannot listen."""
    wanted = network or NetworkOptions()
    clock, genesis = Clock(), home.genesis
    key = home.key(VALIDATOR)
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
    ledger = await open_ledger(home, options, network=peers, progress=progress)
    try:
        if ledger.host is not None:
            peers.attach(ledger.host)
        peers.transport.start(wanted.listen)
        if wanted.listen is not None:
            listening = Address.of(wanted.listen[0], peers.transport.port)
            peers.transport.hello = hello._replace(listen=listening)
        for public_key, (host, port) in _known(home, wanted).items():
            peers.transport.dial(public_key, host, port)
    except BaseException:
        await ledger.close()
        raise
    return RunningNode(ledger, peers)


def _known(home: Home, wanted: NetworkOptions) -> dict[PublicKey, tuple[str, int]]:
    """Where each validator may be dialled."""
    places: dict[PublicKey, tuple[str, int]] = {}
    for validator in home.genesis.validators:
        if validator.hosts:
            host, _, port = validator.hosts[0].rpartition(":")
            places[validator.public_key] = host.strip("[]"), int(port)
    return places | dict(wanted.known)
