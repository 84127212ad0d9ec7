"""What the methods of the API work with: one node's ledger, its limits, and who watches it."""

import asyncio
import secrets
from collections import OrderedDict
from contextlib import suppress
from typing import Final, NamedTuple

from cherrydag.address import Network
from cherrydag.errors import Closed, Overloaded, Rejected
from cherrydag.ledger import AsyncLedger
from cherrydag.primitives import Address, Amount
from cherrydag.rpc.health import LoopLag
from cherrydag.rpc.jsonrpc import ErrorCode, RpcError
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.turnstile import Turnstile
from cherrydag.runtime.lookups import CommitEvent, Supply
from cherrydag.runtime.node_runner import RunningNode
from cherrydag.runtime.opening import Running
from cherrydag.runtime.submissions import Submission
from cherrydag.signing import KeyPair
from cherrydag.transaction import Bytes, Records

_SCAN_SHARE: Final = 20
"""A scan of all holdings may take one part in so many of the loop's time."""

_FAUCET_KEPT: Final = 4096


class Faucet(NamedTuple):
    """A key that gives coins to whoever asks, on a chain whose coins are worth nothing. amount: smallest
    units a time; pause_s: between two gifts to one address."""

    key: KeyPair
    amount: Amount
    pause_s: int = 60


READS_AT_ONCE: Final = 4
"""Reads, or parts of long ones, in a turn of the loop: each may take milliseconds."""


class Backend:
    """One open ledger behind the API. node: None for a ledger without peers."""

    def __init__(
        self,
        running: Running,
        node: RunningNode | None,
        limits: RpcLimits,
        faucet: Faucet | None = None,
    ) -> None:
        self.running = running
        self.node = node
        self.limits = limits
        self.faucet = faucet
        self.ledger = AsyncLedger(running)
        self.network: Network = running.home.genesis.network
        self.lag = LoopLag()
        self.bytes_open = 0
        self._loop = asyncio.get_running_loop()
        self._event: CommitEvent | None = None
        self._scan_at_s = 0.0
        self._given: dict[Address, float] = {}
        self.reads = Turnstile(READS_AT_ONCE, has_rests=True)
        self.large_bodies = Turnstile(1)
        self._held: OrderedDict[str, Submission] = OrderedDict()
        self._held_rows = 0

    @property
    def commit_index(self) -> int:
        """Of the last final commit."""
        return self.running.books.commit_index

    def check_running(self) -> None:
        """RpcError if the node has stopped."""
        host = self.running.host
        if host is None or host.failure is not None:
            raise unavailable("stopped", "the node has stopped")

    def check_accepting(self) -> None:
        """RpcError if it takes no transactions: it stops, or is only to be read."""
        for code, words in self.running.refusals.items():
            raise unavailable(code, f"this node takes no transactions: {words}")

    def event(self, index: int) -> CommitEvent:
        """A commit by its index; the last one that was asked for is kept. RpcError if there is none."""
        if self._event is None or self._event.index != index:
            found = self.running.lookups.event(index)
            if found is None:
                raise unknown_commit(index, self.commit_index)
            self._event = found
        return self._event

    def supply(self, asset: int) -> Supply:
        """As Ledger.supply; Overloaded where scans would take too much of the loop's time."""
        now_s = self._loop.time()
        if asset and now_s < self._scan_at_s:
            raise RpcError(
                ErrorCode.OVERLOADED,
                "supply_scan",
                "supply: it adds up every holding, which was done a moment ago",
                retry_after_ms=int(1000 * (self._scan_at_s - now_s)) + 1,
            )
        found = self.ledger.supply(asset)
        if asset:
            ended_s = self._loop.time()
            self._scan_at_s = ended_s + _SCAN_SHARE * (ended_s - now_s)
        return found

    async def submit(self, records: Records, bodies: Bytes, *, wait_for_room: bool) -> Submission:
        """Hand in a batch. Overloaded if there is no room in time, RpcError if none are taken."""
        self.check_accepting()
        size = records.nbytes + len(bodies)
        if self.bytes_open + size > self.limits.submit_bytes_open:
            raise Overloaded(
                f"submissions: {self.limits.submit_bytes_open} bytes are in work at most; try again later"
            )
        self.bytes_open += size
        try:
            async with asyncio.timeout(self.limits.wait_ms / 1000):
                return await self.ledger.submit(records, bodies, wait=wait_for_room)
        except TimeoutError:
            waited = f"within {self.limits.wait_ms} ms"
            raise Overloaded(f"submission: no room for all of it {waited}; hand it in again") from None
        finally:
            self.bytes_open -= size

    async def settle(self, submission: Submission, wait_ms: int) -> bool:
        """Wait so long at most until no row can change any more; whether that is so."""
        if wait_ms and not submission.is_settled:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_ms, self.limits.wait_ms) / 1000):
                    await submission.final()
        return submission.is_settled

    def hold(self, submission: Submission) -> str:
        """Keep a submission for who asks for its results later; the token to ask with."""
        token = secrets.token_hex(16)
        self._held[token] = submission
        self._held_rows += len(submission)
        limits = self.limits
        while len(self._held) > limits.held_submissions or self._held_rows > limits.held_rows:
            _, dropped = self._held.popitem(last=False)
            self._held_rows -= len(dropped)
        return token

    def held(self, token: str) -> Submission:
        """A submission by its token. RpcError if it is not kept, any more or since a restart."""
        found = self._held.get(token)
        if found is None:
            message = "submission: its results are not kept here; hand the same transactions in again"
            raise RpcError(ErrorCode.REJECTED, "submission_unknown", message)
        return found

    def release(self, token: str) -> None:
        """Its results have been told."""
        found = self._held.pop(token, None)
        if found is not None:
            self._held_rows -= len(found)

    async def give(self, address: Address) -> Submission:
        """A gift of the faucet's. RpcError if there is no faucet, or the address was given one just now."""
        if self.faucet is None:
            raise unavailable("no_faucet", "this node has no faucet")
        self.check_accepting()
        now_s = self._loop.time()
        last_s = self._given.get(address)
        if last_s is not None and now_s < last_s + self.faucet.pause_s:
            raise RpcError(
                ErrorCode.OVERLOADED,
                "faucet_pause",
                f"faucet: one gift in {self.faucet.pause_s} s for an address",
                limit=self.faucet.pause_s,
                retry_after_ms=int(1000 * (last_s + self.faucet.pause_s - now_s)) + 1,
            )
        self._given.pop(address, None)
        self._given[address] = now_s
        if len(self._given) > _FAUCET_KEPT:
            del self._given[next(iter(self._given))]
        try:
            async with asyncio.timeout(self.limits.wait_ms / 1000):
                return await self.ledger.transfer(self.faucet.key, address, self.faucet.amount)
        except BaseException:
            self._given.pop(address, None)
            raise


def unavailable(code: str, message: str) -> RpcError:
    """The node cannot do that."""
    return RpcError(ErrorCode.UNAVAILABLE, code, message)


def unknown_commit(index: int, last: int) -> RpcError:
    """There is no such commit, or not any more."""
    code = "commit_unknown" if index > last else "cursor_gone"
    words = f"the last one is {last}" if index > last else "it is not kept any more"
    return RpcError(ErrorCode.REJECTED, code, f"commit {index}: {words}")


def error_of(error: Exception) -> RpcError | None:
    """The answer to what a call raised; None for a bug."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, Rejected | Overloaded):
        return RpcError.of(error)
    if isinstance(error, Closed):
        return unavailable("stopped", str(error))
    if isinstance(error, TimeoutError):
        return RpcError(ErrorCode.OVERLOADED, "timeout", "it was not done in time", retry_after_ms=1000)
    return None
