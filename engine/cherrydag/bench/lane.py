"""One stream of transfers to one node: sent when they are due, and followed until they are final.

The schedule does not wait for answers. What is due while every connection is in use waits here, and that
counts as latency, as does everything else between the moment that was intended and the answer that says
"final": retries, other nodes that are asked instead.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag.errors import PeerFault, Rejected
from cherrydag.execution.accounts import Status
from cherrydag.mempool import AddStatus
from cherrydag.rpc.forms import ANSWER, status_name
from cherrydag.rpc.link import Link, RemoteOverloaded
from cherrydag.runtime.submissions import FAR_CODE, Phase, describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cherrydag.bench.schedule import Due
    from cherrydag.transaction import Octets

Rows: TypeAlias = npt.NDArray[np.int64]
"""Numbers of a lane's transfers, or when each was due."""

CONNECTIONS_MAX: Final = 96
"""Most requests of a lane at a time; aiohttp has room for 100."""

ROWS_MAX: Final = 4096
"""Most transfers of one request."""

RETRY_MS: Final = 250
"""Before what was refused for lack of room is sent again, if the node does not say when."""

_RECONNECT_MS: Final = 100
_FORGOTTEN: Final = "submission_unknown"  # to hand the same transfers in again is harmless
_TRANSIENT: Final = (AddStatus.SENDER_FULL, AddStatus.FULL, FAR_CODE)


class Sample(NamedTuple):
    """Transfers that were due together and became final together. Moments in microseconds since the start."""

    due_us: int
    sent_us: int
    done_us: int
    transfers: int


@dataclass(slots=True)
class Counters:
    """What happened on the way. requests: that were answered. overloaded: requests that the node turned away
    with the wish to come back later, obeyed if the lane retries. refused: transfers for which it had no room.
    dropped: that left its mempool. given_up: refused or dropped ones that were not sent again. disconnected:
    requests without an answer. failed: transfers that can never become final, by cause. statuses: of final
    ones that were not applied."""

    requests: int = 0
    overloaded: int = 0
    refused: int = 0
    given_up: int = 0
    dropped: int = 0
    disconnected: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "requests": self.requests,
            "overloaded": self.overloaded,
            "refused": self.refused,
            "given_up": self.given_up,
            "dropped": self.dropped,
            "disconnected": self.disconnected,
            "failed": dict(self.failed),
            "statuses": dict(self.statuses),
        }

    def add(self, other: Counters) -> None:
        """Sum up."""
        self.requests += other.requests
        self.overloaded += other.overloaded
        self.refused += other.refused
        self.given_up += other.given_up
        self.dropped += other.dropped
        self.disconnected += other.disconnected
        self.failed += other.failed
        self.statuses += other.statuses


class _Piece(NamedTuple):
    """Transfers that wait to be sent, and when each was due."""

    due_us: Rows
    rows: Rows


class Lane:
    """Sends n x 176 octets by a plan. links: the node of this lane, then those to turn to if it goes away.

    retries: whether what the node has no room for is sent again, when it says. samples: what is final so far.
    dues: when how many transfers were due, whatever became of them. offered, final, queued: transfers that
    were due, are final, and are due but not sent.
    """

    def __init__(
        self,
        links: Sequence[Link],
        octets: Octets,
        plan: Sequence[Due],
        connections: int,
        *,
        retries: bool = True,
    ) -> None:
        self.samples: list[Sample] = []
        self.dues: list[tuple[int, int]] = []
        self.counters = Counters()
        self.queued = 0
        self.offered = 0
        self.final = 0
        self._links = deque(links)
        self._octets = octets
        self._plan = plan
        self._connections = connections
        self._retries = retries
        self._queue: deque[_Piece] = deque()
        self._busy = 0
        self._closed = 0
        self._is_fed = False
        self._done = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._start_ns = 0

    async def run(self, start_ns: int, drain_s: float) -> None:
        """Send everything when it is due, from this moment of the monotonic clock on, and wait until all of
        it is final, but at most drain_s after the last was due."""
        self._start_ns = start_ns
        try:
            for due in self._plan:
                await asyncio.sleep(max(0, due.due_us - self._now_us()) / 1e6)
                self._enqueue(self._piece(due, due.due_us))
            await self._drain(drain_s)
        finally:
            self._stop()

    async def run_closed(self, start_ns: int, until_us: int, drain_s: float) -> None:
        """Send a part of the plan on each connection as soon as the one before is final, until this moment:
        what is due is what is sent. It shows what a node can do, and hides how long clients would wait."""
        self._start_ns = start_ns
        try:
            await asyncio.sleep(max(0, -self._now_us()) / 1e6)
            parts = iter(self._plan)
            await asyncio.gather(*[self._send_parts(parts, until_us) for _ in range(self._connections)])
            await self._drain(drain_s)
        finally:
            self._stop()

    async def _send_parts(self, parts: Iterator[Due], until_us: int) -> None:
        for due in parts:
            now_us = self._now_us()
            self._busy += 1
            await self._send(self._piece(due, now_us))
            if now_us >= until_us:
                return

    def _piece(self, due: Due, due_us: int) -> _Piece:
        rows = np.arange(due.first, due.last)
        self.offered += len(rows)
        self.dues.append((due_us, len(rows)))
        return _Piece(np.full(len(rows), due_us), rows)

    async def _drain(self, drain_s: float) -> None:
        self._is_fed = True
        self._close(0)
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._done.wait()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _now_us(self) -> int:
        return (time.monotonic_ns() - self._start_ns) // 1000

    # Sending

    def _enqueue(self, piece: _Piece) -> None:
        self._queue.append(piece)
        self.queued += len(piece.rows)
        self._send_more()

    def _send_more(self) -> None:
        while self._queue and self._busy < self._connections:
            taken = [self._queue.popleft()]
            count = len(taken[0].rows)
            while self._queue and count + len(self._queue[0].rows) <= ROWS_MAX:
                taken.append(self._queue.popleft())
                count += len(taken[-1].rows)
            self.queued -= count
            due_us, rows = (np.concatenate(column) for column in zip(*taken, strict=True))
            self._busy += 1
            self._spawn(_Piece(due_us, rows), 0)

    def _spawn(self, piece: _Piece, pause_ms: int) -> None:
        task = asyncio.get_running_loop().create_task(
            self._again(piece, pause_ms) if pause_ms else self._send(piece)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again(self, piece: _Piece, pause_ms: int) -> None:
        await asyncio.sleep(pause_ms / 1000)
        self._enqueue(piece)

    async def _send(self, piece: _Piece) -> None:
        sent_us, link = self._now_us(), self._links[0]
        try:
            answer = await self._final(link, piece.rows)
        except RemoteOverloaded as overloaded:
            self.counters.overloaded += 1
            self.counters.refused += len(piece.rows)
            self._refused(piece, overloaded.retry_after_ms or RETRY_MS)
        except (ConnectionError, PeerFault):
            self.counters.disconnected += 1
            if self._links[0] is link:
                self._links.rotate(-1)
            self._spawn(piece, _RECONNECT_MS)
        except Rejected as refused:
            if refused.code == _FORGOTTEN:
                self._spawn(piece, _RECONNECT_MS)
            else:
                self._fail(refused.code, len(piece.rows))
        else:
            self.counters.requests += 1
            self._account(piece, sent_us, np.frombuffer(answer, ANSWER))
        finally:
            self._busy -= 1
            self._send_more()

    async def _final(self, link: Link, rows: Rows) -> bytes:
        """Rows of ANSWER once no row can change any more."""
        answer, token = await link.post_final(self._octets[rows].tobytes(), len(rows))
        while token:
            answer, token = await link.results(token)
        if len(answer) != len(rows) * ANSWER.itemsize:
            raise PeerFault("answer", f"submit: {len(answer)} bytes for {len(rows)} rows")
        return answer

    # What came of it

    def _account(self, piece: _Piece, sent_us: int, told: npt.NDArray[np.void]) -> None:
        done_us = self._now_us()
        phases = told["phase"]
        is_final = phases == Phase.FINAL
        dues, counts = np.unique(piece.due_us[is_final], return_counts=True)
        for due_us, count in zip(dues.tolist(), counts.tolist(), strict=True):
            self.samples.append(Sample(due_us, sent_us, done_us, count))
        final = int(counts.sum())
        self.final += final
        self._close(final)
        if not is_final.all():
            self._account_others(piece, told, is_final)
        odd = told["status"][is_final & (told["status"] != Status.APPLIED)]
        self.counters.statuses.update(status_name(status) for status in odd.tolist())

    def _account_others(
        self, piece: _Piece, told: npt.NDArray[np.void], is_final: npt.NDArray[np.bool_]
    ) -> None:
        is_dropped = told["phase"] == Phase.DROPPED
        is_refused = (told["phase"] == Phase.REFUSED) & np.isin(told["code"], _TRANSIENT)
        self.counters.dropped += int(is_dropped.sum())
        self.counters.refused += int(is_refused.sum())
        again = is_dropped | is_refused
        if again.any():
            self._refused(_Piece(piece.due_us[again], piece.rows[again]), RETRY_MS)
        for code in told["code"][~again & ~is_final].tolist():
            self._fail(describe(code)[0], 1)

    def _refused(self, piece: _Piece, pause_ms: int) -> None:
        """The node had no room for these."""
        if self._retries:
            self._spawn(piece, pause_ms)
        else:
            self.counters.given_up += len(piece.rows)
            self._close(len(piece.rows))

    def _fail(self, cause: str, count: int) -> None:
        self.counters.failed[cause] += count
        self._close(count)

    def _close(self, count: int) -> None:
        self._closed += count
        if self._is_fed and self._closed == self.offered:
            self._done.set()
