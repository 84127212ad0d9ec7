"""What honest clients see while something else goes on, and what it costs the victim."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import numpy as np
import numpy.typing as npt

from attacks.site import VICTIM, WITNESS, Site
from cherrydag.address import addresses_of
from cherrydag.chain import Chain
from cherrydag.client import AsyncClient
from cherrydag.rpc.forms import ANSWER
from cherrydag.runtime.submissions import Phase
from cherrydag.signing import KeyPair, generate_keypair, sign_records
from cherrydag.transaction import Records, build_transfers

PAYERS: Final = 64
BATCH: Final = 16
"""Transfers of one request of the honest load."""
_LIVEZ_S: Final = 0.05
_RSS_S: Final = 0.2
_WAIT_MS: Final = 20_000
_FUNDS: Final = 10**12


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


@dataclass
class Span:
    """What was seen in some seconds. lag_ms: of the victim's event loop; answer_ms: of /livez, for a client
    that is connected; finality_ms: of transfers handed in; rss_mib: of the victim; lost: requests of honest
    clients that failed; commits: of the witness's chain."""

    lag_ms: list[float] = field(default_factory=list)
    answer_ms: list[float] = field(default_factory=list)
    finality_ms: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    lost: int = 0
    commits: int = 0
    seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        """In short."""
        return {
            "lag_ms_p99": round(percentile(self.lag_ms, 0.99), 1),
            "lag_ms_max": round(max(self.lag_ms, default=0.0), 1),
            "answer_ms_p99": round(percentile(self.answer_ms, 0.99), 1),
            "answer_ms_max": round(max(self.answer_ms, default=0.0), 1),
            "finality_ms_p50": round(percentile(self.finality_ms, 0.5), 1),
            "finality_ms_p99": round(percentile(self.finality_ms, 0.99), 1),
            "finals": len(self.finality_ms),
            "lost": self.lost,
            "rss_mib": round(max(self.rss_mib, default=0.0), 1),
            "commits_s": round(self.commits / self.seconds, 2) if self.seconds else 0.0,
        }


class Watch:
    """Honest clients of a site. rate: transfers a second. Spans are cut by `span`."""

    def __init__(self, site: Site, rate: int) -> None:
        self._site = site
        self._pause_s = BATCH / rate
        self._span = Span()
        self._payers = [generate_keypair(bytes([77, number]) + bytes(30)) for number in range(PAYERS)]
        self._nonces = np.zeros(PAYERS, np.uint64)
        self._chain = Chain.of(site.home.genesis.digest)
        self._tasks: list[asyncio.Task[None]] = []
        self._followed: set[asyncio.Task[None]] = set()
        self.entry = WITNESS
        """The node that the load goes to."""

    async def start(self) -> None:
        """Fund the payers, then begin."""
        await fund(self._site, self._payers)
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._probe = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        self._tasks = [asyncio.create_task(run()) for run in (self._livez, self._rss, self._load)]

    async def stop(self) -> None:
        """End it."""
        for task in [*self._tasks, *self._followed]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._followed, return_exceptions=True)
        await self._http.close()
        await self._probe.close()

    async def span(self, seconds: float) -> Span:
        """What is seen from now on, for so long."""
        span = self.begin()
        first, started_s = await self.height(), time.monotonic()
        await asyncio.sleep(seconds)
        span.commits, span.seconds = await self.height() - first, time.monotonic() - started_s
        return span

    def begin(self) -> Span:
        """A span from now on, until the next one begins."""
        self._span = Span()
        return self._span

    def cut(self) -> None:
        """What is seen from now on belongs to no span, until the next one begins."""
        self._span = Span()

    async def height(self, node: int = WITNESS) -> int:
        """Index of a node's last commit; 0 if it does not say."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "status"})
        with suppress(aiohttp.ClientError, TimeoutError, LookupError, ValueError):
            async with self._http.post(
                self._site.api(node),
                data=body,
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(10),
            ) as response:
                return int((await response.json())["result"]["commit_index"])
        return 0

    async def _livez(self) -> None:
        url = self._site.api(VICTIM) + "/livez"
        while True:
            started_s = time.monotonic()
            span = self._span
            try:
                async with self._probe.get(url, timeout=aiohttp.ClientTimeout(10)) as response:
                    told = await response.json()
                span.lag_ms.append(float(told["loop_lag_ms"]))
                span.answer_ms.append(1000 * (time.monotonic() - started_s))
            except (aiohttp.ClientError, TimeoutError, LookupError, ValueError):
                span.lost += 1
            await asyncio.sleep(_LIVEZ_S)

    async def _rss(self) -> None:
        while True:
            with suppress(OSError):
                self._span.rss_mib.append(self._site.rss_bytes() / 2**20)
            await asyncio.sleep(_RSS_S)

    async def _load(self) -> None:
        turn = 0
        due_s = time.monotonic()
        while True:
            if len(self._followed) < 64:
                task = asyncio.create_task(self._transfer(turn % (PAYERS // BATCH)))
                self._followed.add(task)
                task.add_done_callback(self._followed.discard)
                turn += 1
            due_s = max(due_s + self._pause_s, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _transfer(self, group: int) -> None:
        """A batch of one group of payers, from its submission until it is final."""
        at = slice(group * BATCH, (group + 1) * BATCH)
        records = signed(self._payers[at], self._nonces[at], self._chain)
        self._nonces[at] += np.uint64(1)
        span, started_s = self._span, time.monotonic()
        url = f"{self._site.api(self.entry)}/submit?wait=final&wait_ms={_WAIT_MS}&room=wait"
        headers = {"Content-Type": "application/octet-stream"}
        try:
            async with self._http.post(
                url, data=records.tobytes(), headers=headers, timeout=aiohttp.ClientTimeout(30)
            ) as response:
                body = await response.read()
                if response.status != 200:
                    raise ValueError(response.status)
            if set(np.frombuffer(body, ANSWER)["phase"].tolist()) != {Phase.FINAL}:
                raise ValueError("not final")
            span.finality_ms.append(1000 * (time.monotonic() - started_s))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            span.lost += 1  # its nonces are left out: later ones are within the window all the same


def signed(
    payers: Sequence[KeyPair], nonces: npt.NDArray[np.uint64], chain: Chain, to: bytes = bytes(20)
) -> Records:
    """One transfer of 1 from each payer."""
    records = build_transfers(
        senders=np.frombuffer(b"".join(key.public_key for key in payers), np.uint8).reshape(-1, 32),
        recipients=to,
        amounts=1,
        nonces=nonces,
    )
    sign_records(records, chain.transaction_key, list(payers), np.arange(len(payers)))
    return records


async def fund(site: Site, payers: Sequence[KeyPair], amount: int = _FUNDS) -> None:
    """Give each payer coins of the treasury's, and wait until all have them."""
    chain = Chain.of(site.home.genesis.digest)
    keys = np.frombuffer(b"".join(key.public_key for key in payers), np.uint8).reshape(-1, 32)
    async with AsyncClient(site.api(WITNESS)) as client:
        for first in range(0, len(payers), 64):
            part = addresses_of(keys[first : first + 64])
            account = await client.account(site.treasury)
            records = build_transfers(
                senders=site.treasury.public_key,
                recipients=part,
                amounts=amount,
                nonces=np.arange(account.next_nonce, account.next_nonce + len(part)).astype(np.uint64),
            )
            sign_records(records, chain.transaction_key, [site.treasury], np.zeros(len(part), int))
            await (await client.submit(records)).final()
