"""A network of real processes under faults, with clients that hold it to what it told them.

Nodes are killed (-9), stopped and continued, restarted, cut off; meanwhile clients pay, and hand in again
what is not answered, anywhere. After each step all nodes that answer are compared (`chaos_history`).
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
from system.chaos_history import History, Told
from system.chaos_nodes import Daemon, Place

from cherrydag.address import Network, address_of, encode_address
from cherrydag.bench.ports import free_ports
from cherrydag.chain import Chain
from cherrydag.client import AsyncClient
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.errors import CherrydagError
from cherrydag.genesis import LedgerParams
from cherrydag.primitives import Address, TimestampMs
from cherrydag.runtime.home import TREASURY, create_network
from cherrydag.runtime.submissions import Phase
from cherrydag.signing import KeyPair, generate_keypair, sign_records
from cherrydag.transaction import Records, build_transfers, transaction_ids

ANSWER_S: Final = 8.0
"""How long a client waits before it hands the same transaction in elsewhere."""

STALL_S: Final = 40.0
"""A healed network must make something new final within this time, replays and dials included."""

PAYERS: Final = 6
COMMITS_PAGE: Final = 200
SAMPLE: Final = 40
CHECKPOINT_COMMITS: Final = 20

_Errors = (OSError, TimeoutError, aiohttp.ClientError, CherrydagError)


@dataclass(slots=True)
class Outcome:
    """steps: of each kind. paid: transfers that became final. restarts_ms: from a start to an answer.
    recoveries_ms: from the heal of all to the next transfer that is final."""

    steps: Counter[str] = field(default_factory=Counter)
    paid: int = 0
    retries: int = 0
    comparisons: int = 0
    commits: int = 0
    roots: int = 0
    restarts_ms: list[int] = field(default_factory=list)
    recoveries_ms: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


class Chaos:
    """The network, its payers and what they were told."""

    def __init__(self, folder: Path, validators: int, seed: int, place: Place | None = None) -> None:
        self.rng = random.Random(seed)
        self.place = place or Place()
        self.outcome = Outcome()
        self.history = History(findings=self.outcome.findings)
        ports = free_ports(2 * validators)
        self.homes = create_network(
            folder,
            [f"{self.place.host(index)}:{ports[index]}" for index in range(validators)],
            created_ms=TimestampMs(time.time_ns() // 1_000_000),
            chain_params=ChainParams(checkpoint_commits=CHECKPOINT_COMMITS),
            ledger_params=LedgerParams(tree_depth=10),
        )
        self.nodes = [
            Daemon(index, home, self.place, ports[index], ports[validators + index])
            for index, home in enumerate(self.homes)
        ]
        self.faults_max = (validators - 1) // 3
        self._chain = Chain.of(self.homes[0].genesis.digest)
        self._clients: dict[int, AsyncClient] = {}
        self._http: aiohttp.ClientSession | None = None
        self._stop = asyncio.Event()
        self._last_final_s = time.monotonic()

    # Life

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All nodes up and the payers at work; afterwards everything has ended."""
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        try:
            for node in self.nodes:
                node.start()
            await self.all_ready()
            payers = [asyncio.ensure_future(self._pay(key)) for key in await self._payers()]
            try:
                yield
            finally:
                self._stop.set()
                for payer in payers:
                    payer.cancel()
                for ended in await asyncio.gather(*payers, return_exceptions=True):
                    if isinstance(ended, Exception):
                        raise ended
        finally:
            for client in self._clients.values():
                await client.close()
            await self._http.close()
            for node in self.nodes:
                node.kill()

    async def all_ready(self) -> None:
        """Wait until all that have a process answer that they are ready."""
        for node in self.nodes:
            started = time.monotonic()
            while node.is_up and not await self._ready(node):
                if (words := node.died()) or time.monotonic() > started + STALL_S:
                    self.outcome.findings.append(words or f"v{node.index} is not ready after {STALL_S:g} s")
                    return
                await asyncio.sleep(0.05)

    async def _ready(self, node: Daemon) -> bool:
        assert self._http is not None
        with suppress(*_Errors):
            async with self._http.get(f"{node.url}/readyz") as answer:
                return answer.status == 200
        return False

    def client(self, node: Daemon) -> AsyncClient:
        """To a node."""
        if node.index not in self._clients:
            self._clients[node.index] = AsyncClient(node.url, timeout_s=ANSWER_S)
        return self._clients[node.index]

    # Payers

    async def _payers(self) -> list[KeyPair]:
        treasury, client = self.homes[0].key(TREASURY), self.client(self.nodes[0])
        keys = [generate_keypair(bytes([77, number]) * 16) for number in range(PAYERS)]
        for key in keys:
            paid = await client.transfer(treasury, address_of(key.public_key), 10**12)
            await asyncio.wait_for(paid.final(), STALL_S)
        return keys

    async def _pay(self, key: KeyPair) -> None:
        """One transfer after the other, each until it is final somewhere."""
        nonce = 0
        while not self._stop.is_set():
            record = build_transfers(
                senders=key.public_key,
                recipients=Address(bytes([nonce % 251]) * 20),
                amounts=1 + nonce % 7,
                nonces=nonce,
                fee=1000,
            )
            sign_records(record, self._chain.transaction_key, [key], np.zeros(1, int))
            await self._until_final(record)
            nonce += 1

    async def _until_final(self, record: Records) -> None:
        transaction_id = transaction_ids(record, self._chain.transaction_key)
        while not self._stop.is_set():
            up = [node for node in self.nodes if node.is_up]
            if not up:
                await asyncio.sleep(0.1)
                continue
            node = self.rng.choice(up)
            try:
                async with asyncio.timeout(ANSWER_S):
                    sent = await self.client(node).submit(record)
                    await sent.final()
            except _Errors:
                self.outcome.retries += 1
                await asyncio.sleep(0.05)
                continue
            if sent.phases[0] != Phase.FINAL:  # refused while the node starts or is full: again, elsewhere
                self.outcome.retries += 1
                await asyncio.sleep(0.05)
                continue
            place = int(sent.places[0])
            told = Told(place >> 32, place & 0xFFFFFFFF, int(sent.statuses[0]))
            self.history.on_final(node.index, transaction_id, told)
            self.outcome.paid += 1
            self._last_final_s = time.monotonic()
            return

    # Comparison

    async def compare(self, *, all_of_it: bool = False) -> None:
        """Ask every node that answers for its new commits, its newest certificate, and some receipts."""
        for node in self.nodes:
            if words := node.died():
                self.outcome.findings.append(words)
        up = [node for node in self.nodes if node.is_up]
        await asyncio.gather(*[self._compare_one(node, all_of_it) for node in up])
        self.outcome.comparisons += 1
        self.outcome.commits, self.outcome.roots = len(self.history.commits), len(self.history.roots)

    async def _compare_one(self, node: Daemon, all_of_it: bool) -> None:
        try:
            async with asyncio.timeout(None if all_of_it else ANSWER_S):
                head = int((await self._call(node, "status"))["commit_index"])
                self.history.on_head(node.index, head)
                await self._compare_commits(
                    node, 1 if all_of_it else self.history.seen.get(node.index, 0) + 1, head
                )
                await self._compare_root(node)
                await self._compare_receipts(node, head, all_of_it)
        except _Errors:
            if all_of_it:
                raise

    async def _compare_commits(self, node: Daemon, first: int, head: int) -> None:
        while first <= head:
            page = await self._call(node, "commits", first=first, count=COMMITS_PAGE)
            digests = [bytes.fromhex(commit["digest"]) for commit in page["commits"]]
            if not digests:
                return
            self.history.on_commits(node.index, first, digests)
            first += len(digests)

    async def _compare_root(self, node: Daemon) -> None:
        address = encode_address(Address(bytes(20)), Network.DEV)
        with suppress(CherrydagError):  # none is certified yet
            form = await self._call(node, "account_proof", address=address)
            checkpoint = form["certificate"]
            self.history.on_root(
                node.index, checkpoint["commit_index"], bytes.fromhex(checkpoint["state_root"])
            )

    async def _compare_receipts(self, node: Daemon, head: int, all_of_it: bool) -> None:
        known = list(self.history.finals)
        chosen = known if all_of_it else self.rng.sample(known, min(SAMPLE, len(known)))
        for transaction_id in chosen:
            receipt = await self.client(node).receipt(transaction_id)
            told = receipt and Told(receipt.place.commit_index, receipt.place.position, receipt.status)
            self.history.on_receipt(node.index, head, transaction_id, told)

    async def _call(self, node: Daemon, method: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.client(node)._link.call(method, **params)
        return answer

    # Steps

    async def step(self) -> None:
        """One fault or repair, some time under it, and a look at everybody."""
        name, act = self.rng.choice(self._possible())
        self.outcome.steps[name] += 1
        act()
        await asyncio.sleep(self.rng.uniform(0.1, 1.5))
        await self.compare()

    def _possible(self) -> list[tuple[str, Callable[[], None]]]:
        up = [node for node in self.nodes if node.is_up]
        frozen = [node for node in self.nodes if node.is_stopped]
        down = [node for node in self.nodes if not node.is_up and not node.is_stopped]
        faulty = len(frozen) + len(down)
        steps: list[tuple[str, Callable[[], None]]] = [("quiet", lambda: None)]
        if up and (faulty < self.faults_max or self.rng.random() < 0.15):
            victim = self.rng.choice(up)
            steps += [("kill", victim.kill)] * 3 + [("stop", victim.stop)] * 2
            steps += [("close", lambda: self._close(victim)), ("bounce", lambda: self._bounce(victim))]
        if self.rng.random() < 0.1:
            steps += [("blackout", self._blackout)] * 2
        if frozen:
            steps += [("continue", self.rng.choice(frozen).resume)] * 4
        if down:
            steps += [("start", self.rng.choice(down).start)] * 5
        if self.place.has_faults:
            steps += [("partition", self._partition)] * 2 + [("worsen", self._worsen)] * 2
            steps += [("heal_net", self.place.heal)] * 3
        return steps

    def _close(self, node: Daemon) -> None:
        if words := node.close():
            self.outcome.findings.append(words)

    def _bounce(self, node: Daemon) -> None:
        node.kill()
        node.start()

    def _blackout(self) -> None:
        """Everybody at once, as by a power cut; they all come back."""
        for node in self.nodes:
            node.kill()
        for node in self.nodes:
            node.start()

    def _partition(self) -> None:
        mixed = self.rng.sample(range(len(self.nodes)), len(self.nodes))
        size = self.rng.randint(1, len(mixed) // 2)
        self.place.cut(mixed[:size], mixed[size:])

    def _worsen(self) -> None:
        one, other = self.rng.sample(range(len(self.nodes)), 2)
        self.place.worsen(one, other, self.rng.choice([5, 50, 200]), self.rng.choice([0.0, 0.01, 0.05]))

    # Heal

    async def heal(self) -> None:
        """All up, connected and with the same chain, which goes on."""
        self.place.heal()
        for node in self.nodes:
            node.resume()
            if not node.is_up:
                started = time.monotonic()
                node.start()
                words = ""
                while not words and not await self._answers(node):
                    words = node.died()
                    if time.monotonic() > started + STALL_S:
                        words = f"v{node.index} does not answer {STALL_S:g} s after its start"
                    await asyncio.sleep(0.02)
                if words:
                    self.outcome.findings.append(words)
                else:
                    self.outcome.restarts_ms.append(int((time.monotonic() - started) * 1000))
        healed, before = time.monotonic(), self._last_final_s
        while self._last_final_s == before and time.monotonic() < healed + STALL_S:
            await asyncio.sleep(0.02)
        if self._last_final_s == before:
            self.outcome.findings.append(f"nothing became final within {STALL_S:g} s of the heal")
            return
        self.outcome.recoveries_ms.append(int((self._last_final_s - healed) * 1000))
        target = max(self.history.commits, default=0)
        until = time.monotonic() + STALL_S
        while time.monotonic() < until:
            await self.compare()
            if all(self.history.seen.get(node.index, 0) >= target for node in self.nodes):
                return
            await asyncio.sleep(0.1)
        late = [f"v{n.index}: {self.history.seen.get(n.index, 0)}" for n in self.nodes]
        self.outcome.findings.append(f"not all reached commit {target} within {STALL_S:g} s: {late}")

    async def _answers(self, node: Daemon) -> bool:
        assert self._http is not None
        with suppress(*_Errors):
            async with self._http.get(f"{node.url}/livez") as answer:
                return answer.status == 200
        return False


async def chaos(
    folder: Path,
    steps: int,
    seed: int,
    *,
    validators: int = 4,
    heal_every: int = 20,
    place: Place | None = None,
    progress: Callable[[int, Outcome], None] | None = None,
) -> Outcome:
    """Run so many steps against a new network in this folder; at the end look at all of it."""
    rig = Chaos(folder, validators, seed, place)
    async with rig.running():
        for number in range(1, steps + 1):
            await rig.step()
            if number % heal_every == 0:
                await rig.heal()
            if progress is not None:
                progress(number, rig.outcome)
            if len(rig.outcome.findings) >= 20:
                break
        await rig.heal()
        rig._stop.set()
        await asyncio.sleep(0.5)
        await rig.compare(all_of_it=True)
        for node in rig.nodes:
            if words := node.close():
                rig.outcome.findings.append(words)
    return rig.outcome
