"""A measurement of a network that runs elsewhere: new accounts get coins, then its nodes the load."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from cherrydag import workload
from cherrydag.address import Network, address_of, encode_address
from cherrydag.bench import measurement
from cherrydag.bench.agreement import digest_differences
from cherrydag.bench.funding import cost, fund
from cherrydag.bench.load import Load, LoadSettings
from cherrydag.bench.local_run import Bar, Follower
from cherrydag.bench.measurement import Result, Watch
from cherrydag.bench.node_api import NodeApi
from cherrydag.client import Client
from cherrydag.errors import ConfigError, Rejected
from cherrydag.signing import KeyPair, generate_keypair
from cherrydag.workload import Workload, WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cherrydag.bench.load import Second

GIFT_S: Final = 30.0
"""How long the faucet's gift may take."""

AMOUNT: Final = 1
"""Of each transfer, in smallest units: what matters is that it moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSettings:
    """urls: of the nodes that share the load. payer: whose coins it costs; None: the first node's faucet's.
    accounts: that send and receive; their keys follow from seed, None for a new one. Others: as of
    LoadSettings."""

    urls: tuple[str, ...]
    payer: KeyPair | None
    rate: float
    seconds: float
    accounts: int = 1000
    warm_up_s: float = 3.0
    batch_ms: int = 20
    connections: int = 64
    drain_s: float = 30.0
    seed: int | None = None

    @property
    def transfers(self) -> int:
        """That are due in all."""
        return round(self.rate * self.seconds)


class _Chain(NamedTuple):
    genesis_digest: bytes
    network: Network
    fee: int


def run_remote(settings: RemoteSettings, bar: Bar, tell: Callable[[float, Sequence[Second]], None]) -> Result:
    """Fund, sign, load, compare digests. ConfigError if the nodes are of different chains, or the coins do
    not suffice; ConnectionError if a node does not answer; Rejected if it refuses the funding."""
    apis = {url: NodeApi(url) for url in settings.urls}
    chain = _chain(apis)
    signed = _signed(settings, chain, bar)
    _fund(settings, chain, signed, bar)
    with tempfile.TemporaryDirectory(prefix="cherrydag-bench-") as folder:
        path = Path(folder) / "workload"
        workload.write(signed, path)
        wanted = LoadSettings(
            urls=settings.urls,
            workload=path,
            count=settings.transfers,
            seconds=settings.seconds,
            rate=settings.rate,
            batch_ms=settings.batch_ms,
            connections=settings.connections,
            drain_s=settings.drain_s,
        )
        with Load(wanted) as load:
            load.prepare()
            watch = Watch({f"client{at}": pid for at, pid in enumerate(load.pids)}, apis)
            measured = measurement.run(load, watch, settings.warm_up_s, Follower(tell).tell)
    try:
        measured.failures += digest_differences(apis)
    except ConnectionError as error:
        measured.failures.append(str(error))
    return measurement.result(measured)


def _chain(apis: dict[str, NodeApi]) -> _Chain:
    """What the nodes have in common."""
    found = {}
    for url, api in apis.items():
        info = api.call("ledger_info")
        found[url] = _Chain(
            bytes.fromhex(info["genesis_digest"]), Network(info["network"]), int(info["fee_min"])
        )
    first, *others = found.values()
    if any(other != first for other in others):
        raise ConfigError(f"the targets are nodes of different chains: {', '.join(found)}")
    return first


def _signed(settings: RemoteSettings, chain: _Chain, bar: Bar) -> Workload:
    spec = WorkloadSpec(
        seed=secrets.randbits(64) if settings.seed is None else settings.seed,
        accounts=settings.accounts,
        transfers=settings.transfers,
        amount_min=AMOUNT,
        amount_max=AMOUNT,
        fee=chain.fee,
        genesis_digest=chain.genesis_digest,
    )
    with bar("sign") as progress:
        return workload.generate(spec, progress=progress, processes=os.cpu_count() or 1)


def _fund(settings: RemoteSettings, chain: _Chain, signed: Workload, bar: Bar) -> None:
    """Give every account what it is going to send, whoever pays it meanwhile."""
    senders = np.ascontiguousarray(signed.records["sender"]).view(np.dtype((np.void, 32)))
    _, counts = np.unique(senders, return_counts=True)
    each = int(counts.max()) * (AMOUNT + chain.fee)
    keys = signed.spec.key_pairs()
    with Client(settings.urls[0], genesis_digest=chain.genesis_digest) as client, bar("fund") as progress:
        payer = settings.payer
        if payer is None:
            payer = _gift(client, settings.urls[0], chain, cost(len(keys), each, chain.fee))
        fund(client, chain.genesis_digest, payer, keys, each, chain.fee, progress)


def _gift(client: Client, url: str, chain: _Chain, needed: int) -> KeyPair:
    """A new key with the faucet's coins."""
    key = generate_keypair()
    text = encode_address(address_of(key.public_key), chain.network)
    given = NodeApi(url).call("faucet", address=text)
    if int(given["amount"]) < needed:
        raise ConfigError(f"the faucet gives {given['amount']} smallest units, and this load needs {needed}")
    until_s = time.monotonic() + GIFT_S
    while client.balance(key) < needed:
        if time.monotonic() > until_s:
            raise Rejected("faucet", f"the faucet's gift is not final after {GIFT_S:g} s")
        time.sleep(0.05)
    return key
