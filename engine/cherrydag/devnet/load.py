"""Transfers at a fixed rate, from a process of its own: what a devnet does not have enough of by itself.

Open loop: what is sent when does not depend on the answers, and a latency begins when a transfer should have
been sent; the lanes are those of cherrydag.bench. Each line that the process writes to its pipe has the
figures so far, as JSON.
"""

import asyncio
import json
import math
import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cherrydag.address import addresses_of
from cherrydag.bench.histogram import Histogram
from cherrydag.bench.lane import Lane
from cherrydag.bench.schedule import lanes_of, schedule
from cherrydag.client import AsyncClient
from cherrydag.devnet.figures import WINDOW_S, Latency, LoadFigures
from cherrydag.errors import ConfigError, PeerFault
from cherrydag.params import RECORD_BYTES
from cherrydag.rpc.link import Link
from cherrydag.signing import KeyPair, sign_records
from cherrydag.transaction import Records, build_transfers, chain_key
from cherrydag.workload import WorkloadSpec

RATE_MAX: Final = 100_000

PART_S: Final = 2.0
"""Of the load is signed at a time, while the part before it is sent."""

BATCH_MS: Final = 20
CONNECTIONS: Final = 32

_FIRST_NS: Final = 500_000_000
_AHEAD_NS: Final = 1_500_000_000
_DRAIN_S: Final = 30.0
_PAUSE_S: Final = 0.2
_ASKED_AT_ONCE: Final = 16
_ANSWER_S: Final = 30.0


class LoadSpec(NamedTuple):
    """What is sent where. rate: transfers a second; urls: of the nodes that take turns; accounts: whose keys
    sign; seconds: how long, 0 for without an end."""

    rate: int
    urls: tuple[str, ...]
    accounts: WorkloadSpec
    seconds: float = 0.0


def run_load(spec: LoadSpec, pipe: int) -> int:
    """A process's whole life: send, and tell once a second. 0 when its time is over."""
    if not 1 <= spec.rate <= RATE_MAX:
        raise ConfigError(f"load: expected 1 to {RATE_MAX} transfers a second, got {spec.rate}")
    asyncio.run(_Load(spec, pipe).run())
    return 0


class Batches:
    """Signed transfers, batch after batch: each account pays the next one, in turn.

    nonces: the next one of each account.
    """

    def __init__(self, spec: WorkloadSpec, keys: Sequence[KeyPair], nonces: npt.NDArray[np.uint64]) -> None:
        self._chain_key = chain_key(spec.genesis_digest)
        self._keys = keys
        self._publics = np.frombuffer(b"".join(key.public_key for key in keys), np.uint8).reshape(-1, 32)
        self._addresses = addresses_of(self._publics)
        self._nonces = nonces
        self._turn = 0

    def take(self, count: int) -> Records:
        """The next transfers."""
        accounts = len(self._keys)
        rows = np.arange(count)
        senders = (self._turn + rows) % accounts
        records = build_transfers(
            senders=self._publics[senders],
            recipients=self._addresses[(senders + 1) % accounts],
            amounts=1,
            nonces=self._nonces[senders] + (rows // accounts).astype(np.uint64),
        )
        np.add.at(self._nonces, senders, np.uint64(1))
        self._turn = (self._turn + count) % accounts
        sign_records(records, self._chain_key, self._keys, senders)
        return records


class _Sums(NamedTuple):
    """Transfers that were due, are final and applied, or can never be."""

    offered: int = 0
    final: int = 0
    failed: int = 0

    def plus(self, lane: Lane) -> "_Sums":
        odd = lane.counters.statuses.total()
        return _Sums(
            self.offered + lane.offered,
            self.final + lane.final - odd,
            self.failed + lane.counters.failed.total() + odd,
        )


@dataclass(slots=True)
class _Part:
    """Of the load, what one node gets. told: of its samples."""

    lane: Lane
    task: "asyncio.Task[None]"
    told: int = 0


class _Load:
    def __init__(self, spec: LoadSpec, pipe: int) -> None:
        self._spec = spec
        self._pipe = pipe
        self._links = [Link(url, _ANSWER_S) for url in spec.urls]
        self._parts: list[_Part] = []
        self._recent: deque[Histogram] = deque(maxlen=round(WINDOW_S))
        self._ended = _Sums()
        self._begin_ns = 0

    async def run(self) -> None:
        batches = await self._batches()
        telling = asyncio.create_task(self._tell_on())
        spec = self._spec
        self._begin_ns = start_ns = time.monotonic_ns() + _FIRST_NS
        left_s = spec.seconds or math.inf
        while left_s > 0:
            part_s = min(PART_S, left_s)
            records = await asyncio.to_thread(batches.take, max(1, round(spec.rate * part_s)))
            self._start(records, start_ns)
            start_ns += int(part_s * 1e9)
            left_s -= part_s
            await asyncio.sleep((start_ns - _AHEAD_NS - time.monotonic_ns()) / 1e9)
        await asyncio.gather(*(part.task for part in self._parts))
        telling.cancel()
        self._tell()
        for link in self._links:
            await link.close()

    async def _batches(self) -> Batches:
        """Where the accounts stand. Waits until a node says it."""
        keys = self._spec.accounts.key_pairs()
        nonces = np.zeros(len(keys), np.uint64)
        limit = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(client: AsyncClient, at: int) -> None:
            async with limit:
                nonces[at] = (await client.account(keys[at])).next_nonce

        async with AsyncClient(self._spec.urls[0]) as client:
            while True:
                try:
                    await asyncio.gather(*(ask(client, at) for at in range(len(keys))))
                except (ConnectionError, TimeoutError, PeerFault):
                    await asyncio.sleep(_PAUSE_S)
                else:
                    return Batches(self._spec.accounts, keys, nonces)

    def _start(self, records: Records, start_ns: int) -> None:
        """Send a part of the load from that moment on, each sender's transfers to one node."""
        count = len(self._links)
        lane_of = lanes_of(records, count)
        plans = schedule(lane_of, count, self._spec.rate, BATCH_MS)
        octets = records.view(np.uint8).reshape(-1, RECORD_BYTES)
        for at, plan in enumerate(plans):
            links = [*self._links[at:], *self._links[:at]]
            lane = Lane(links, octets[lane_of == at], plan, CONNECTIONS)
            self._parts.append(_Part(lane, asyncio.create_task(lane.run(start_ns, _DRAIN_S))))

    async def _tell_on(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._tell()

    @property
    def _seconds(self) -> float:
        return max(0.0, (time.monotonic_ns() - self._begin_ns) / 1e9)

    def _tell(self) -> None:
        """Write the figures so far."""
        fresh, sums = Histogram(), self._ended
        for part in self._parts:
            samples = part.lane.samples[part.told :]
            part.told += len(samples)
            due_us, _, done_us, counts = np.array(samples, np.int64).reshape(-1, 4).T
            fresh.record(done_us - due_us, counts)
            sums = sums.plus(part.lane)
            if part.task.done():
                self._ended = self._ended.plus(part.lane)
        self._parts = [part for part in self._parts if not part.task.done()]
        self._recent.append(fresh)
        figures = LoadFigures(*sums, self._seconds, _latency(self._recent))
        with suppress(BlockingIOError):  # nobody reads: the next line says more
            os.write(self._pipe, encode_figures(figures))


def _latency(parts: Iterable[Histogram]) -> Latency | None:
    every = Histogram()
    for part in parts:
        every.merge(part)
    if not every.count:
        return None
    return Latency(
        every.count, *(us / 1000 for us in (every.quantile(0.5), every.quantile(0.99), every.most))
    )


def encode_figures(figures: LoadFigures) -> bytes:
    """A line."""
    return json.dumps(figures).encode() + b"\n"


def decode_figures(line: bytes) -> LoadFigures:
    """What encode_figures wrote."""
    offered, final, failed, seconds, latency = json.loads(line)
    return LoadFigures(offered, final, failed, seconds, None if latency is None else Latency(*latency))
