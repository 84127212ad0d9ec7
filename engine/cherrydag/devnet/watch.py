"""Asks the nodes of a devnet how they are, and measures its finality, all through their API."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np

from cherrydag.chain import Chain
from cherrydag.client import AsyncClient
from cherrydag.devnet.figures import Figures, Latencies, LoadFigures, NodeFigures
from cherrydag.devnet.folder import DevnetNode
from cherrydag.devnet.processes import ChildProcess, Memory, memory_of
from cherrydag.errors import CherrydagError
from cherrydag.primitives import Address
from cherrydag.rpc.link import Link
from cherrydag.runtime.submissions import Phase
from cherrydag.signing import KeyPair, sign_records
from cherrydag.transaction import Records, build_transfers

PROBE_EVERY_S: Final = 0.25
PROBES_OPEN_MAX: Final = 32
"""Half of what one account may have under way."""

_FINAL_S: Final = 10.0
"""When a probe has failed: its node may take it and never issue it."""

_ANSWER_S: Final = 2.0
_CLOSE_S: Final = 1.0
_PAGE: Final = 100
_NOTHING: Final = Memory(0, 0)
_FAILURES: Final = (CherrydagError, OSError, TimeoutError, LookupError, TypeError, ValueError)
"""What a node that goes away makes of a call."""


class Member(NamedTuple):
    """A node and its process."""

    node: DevnetNode
    process: ChildProcess


class Watch:
    """Of the running event loop. figures() is asked once a second; close() ends it."""

    def __init__(self, members: Sequence[Member], probes: "Prober") -> None:
        self._members = members
        self._links = [Link(member.node.url, _ANSWER_S) for member in members]
        self._probes = probes
        self._loop = asyncio.get_running_loop()
        self._began_s = self._last_s = self._loop.time()
        self._commit_index = 0
        self._transactions = 0

    async def close(self) -> None:
        """Let the connections go."""
        for link in self._links:
            await link.close()

    async def ready(self) -> bool:
        """Whether all nodes are of use to clients."""
        found = await asyncio.gather(*map(self._status, range(len(self._members))))
        return all(status is not None and status["is_ready"] for status in found)

    async def begin(self) -> None:
        """Count from now on."""
        self._began_s = self._last_s = self._loop.time()
        found = await asyncio.gather(*map(self._status, range(len(self._members))))
        self._commit_index = max((status["commit_index"] for status in found if status), default=0)

    async def figures(self, load: LoadFigures | None) -> Figures:
        """As it is now."""
        nodes = await asyncio.gather(*map(self._node, range(len(self._members))))
        before = self._commit_index
        new = await self._count(nodes)
        now_s = self._loop.time()
        spent_s, self._last_s = max(now_s - self._last_s, 1e-3), now_s
        return Figures(
            now_s - self._began_s,
            new / spent_s,
            (self._commit_index - before) / spent_s,
            self._transactions,
            self._probes.latencies.summary(now_s),
            self._probes.failed,
            load,
            tuple(nodes),
            *(memory_of(os.getpid()) or _NOTHING),
        )

    async def _count(self, nodes: Sequence[NodeFigures]) -> int:
        """Final transactions since the last time, as the node that is ahead has them."""
        ahead = max(range(len(nodes)), key=lambda at: nodes[at].commit_index)
        new = 0
        with suppress(*_FAILURES):
            while self._commit_index < nodes[ahead].commit_index:
                page = await self._links[ahead].call("commits", first=self._commit_index + 1, count=_PAGE)
                if not page["commits"]:
                    break
                for commit in page["commits"]:
                    new += int(commit["transactions"])
                    self._commit_index = int(commit["commit_index"])
        self._transactions += new
        return new

    async def _node(self, at: int) -> NodeFigures:
        member = self._members[at]
        node, process = member
        status, peers = await self._status(at), await self._ask(at, "peers")
        memory = process.memory() or _NOTHING
        linked = others = -1
        if peers is not None:
            others = sum(not one["is_self"] for one in peers["validators"])
            linked = sum(one["is_linked"] for one in peers["validators"])
        return NodeFigures(
            node.name,
            node.url,
            process.pid,
            process.is_running,
            status is not None and bool(status["is_ready"]),
            -1 if status is None else int(status["round"]),
            -1 if status is None else int(status["commit_index"]),
            linked,
            others,
            *memory,
        )

    async def _status(self, at: int) -> Any:
        return await self._ask(at, "status")

    async def _ask(self, at: int, method: str) -> Any:
        with suppress(*_FAILURES):
            return await self._links[at].call(method)
        return None


class Prober:
    """Sends a transfer of one smallest unit every PROBE_EVERY_S, to each node in turn, and waits until that
    node says that it is final. latencies: of those; failed: how many were not."""

    def __init__(self, members: Sequence[Member], chain: Chain, key: KeyPair, to: Address) -> None:
        self.latencies = Latencies()
        self.failed = 0
        self._members = members
        self._clients = [AsyncClient(member.node.url, timeout_s=10.0) for member in members]
        self._chain = chain
        self._key = key
        self._to = to
        self._nonce: int | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Send no more, wait a moment for what is under way, and let the connections go."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._open:
            await asyncio.wait(set(self._open), timeout=_CLOSE_S)
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        for client in self._clients:
            await client.close()

    async def _run(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            turn = (turn + 1) % len(self._members)
            if len(self._open) >= PROBES_OPEN_MAX or not self._members[turn].process.is_running:
                continue
            if self._nonce is None:
                self._nonce = await self._next_nonce(self._clients[turn])
                continue
            record = self._record(self._nonce)
            self._nonce += 1
            task = asyncio.create_task(self._probe(self._clients[turn], record))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _next_nonce(self, client: AsyncClient) -> int | None:
        """None while one that was given out may still be on its way, or the node does not answer."""
        if self._open:
            return None
        with suppress(*_FAILURES):
            return (await client.account(self._key)).next_nonce
        return None

    def _record(self, nonce: int) -> Records:
        record = build_transfers(senders=self._key.public_key, recipients=self._to, amounts=1, nonces=nonce)
        sign_records(record, self._chain.transaction_key, [self._key], np.zeros(1, int))
        return record

    async def _probe(self, client: AsyncClient, record: Records) -> None:
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        try:
            async with asyncio.timeout(_FINAL_S):
                submission = await (await client.submit(record))
        except _FAILURES:
            is_final = False
        else:
            is_final = submission.phases[0] == Phase.FINAL
        if is_final:
            now_s = loop.time()
            self.latencies.add(now_s, 1000 * (now_s - sent_s))
        else:
            self.failed += 1
            self._nonce = None  # there is a hole: ask again for the lowest that is not used
