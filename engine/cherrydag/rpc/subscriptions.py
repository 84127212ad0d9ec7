"""Who follows the chain over a WebSocket: a session for each socket, and the hub that feeds them.

A subscription to commits begins behind a cursor: it reads old commits at its client's pace, and joins the
live ones at the moment when it has all that the hub has told, so that there is no gap. A live event that
finds no room in its session's queue ends the session: it is closed with the cursor to go on from.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson

from cherrydag.address import addresses_of
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import CherrydagError, Rejected
from cherrydag.params import ADDRESS_BYTES
from cherrydag.rpc import forms
from cherrydag.rpc.dag_cast import DagCast
from cherrydag.rpc.handlers import state_of
from cherrydag.rpc.jsonrpc import VERSION, RpcError, over_limit
from cherrydag.rpc.watches import Watch
from cherrydag.runtime.index_keeper import Place
from cherrydag.runtime.submissions import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cherrydag.primitives import Address, Digest
    from cherrydag.rpc.backend import Backend
    from cherrydag.rpc.forms import Json
    from cherrydag.runtime.lookups import CommitEvent

LAG_CLOSE: Final = 4008
"""Code of the close of a session that does not keep up; the reason is "lag cursor=N"."""

STOPPED_CLOSE: Final = 1001
"""Code of the close of a session whose node has stopped or is closing."""

_UNWRITTEN_S: Final = 0.01
"""Pause for an outcome that is neither in memory nor written yet."""

_KEPT: Final = 64
"""Commits whose encoded event is kept."""


class Subscription:
    """One of a session. cursor: index of the last commit whose event was handed to the socket."""

    def __init__(self, session: Session, number: int, cursor: int) -> None:
        self.session = session
        self.number = number
        self.cursor = cursor
        self.is_new = True
        self.head = (
            f'{{"jsonrpc":"{VERSION}","method":"subscription","params":{{"subscription":{number},"cursor":'
        ).encode()

    def message(self, cursor: int, kind: bytes, value: bytes) -> bytes:
        """A notification. kind: b"result" or b"error"."""
        return b'%b%d,"%b":%b}}' % (self.head, cursor, kind, value)

    def start(self) -> None:
        """Begin, now that the client has been told the number."""

    def stop(self) -> None:
        """Tell nothing more."""


class CommitSubscription(Subscription):
    """Every commit behind a cursor."""

    def __init__(self, session: Session, number: int, cursor: int) -> None:
        super().__init__(session, number, cursor)
        self._told = cursor
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Read what is old, then join."""
        self._task = asyncio.create_task(self._catch_up(self.session.hub))

    def tell(self, index: int, encoded: bytes) -> None:
        """The commit of this index, unless it was told before."""
        if index > self._told:
            self._told = index
            self.session.push(self.message(index, b"result", encoded), self, index)

    def stop(self) -> None:
        """Leave."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self.session.hub.commits.pop(self, None)

    def _tell_next(self, hub: Hub) -> None:
        event = hub.backend.event(self._told + 1)  # which must not be kept while its client does not read
        self.tell(event.index, hub.encoded(event))

    async def _catch_up(self, hub: Hub) -> None:
        """From the check of the index to the joining nothing else runs: the next event is the hub's."""
        try:
            while self._told < hub.index:
                self._tell_next(hub)
                await hub.backend.reads.enter()
                await self.session.room()
            hub.commits[self] = None
        except CherrydagError as error:
            code = error.code if isinstance(error, Rejected | RpcError) else "storage"
            told = orjson.dumps({"code": code, "message": str(error)})
            self.session.push(self.message(self._told, b"error", told), self, self._told)
            self.session.forget(self)


class WatchSubscription(Subscription):
    """What happens to some keys: addresses of accounts, or ids of transactions. known: values, as JSON, that
    are told at once."""

    def __init__(
        self,
        session: Session,
        number: int,
        watch: Watch[WatchSubscription],
        keys: Sequence[bytes],
        known: Sequence[bytes] = (),
    ) -> None:
        super().__init__(session, number, session.hub.index)
        self._watch = watch
        self._keys = keys
        self._known = known
        watch.add(self, keys)

    def start(self) -> None:
        """Tell what is known."""
        for value in self._known:
            self.tell(self.session.hub.index, value)

    def tell(self, index: int, value: bytes) -> None:
        """Something has happened in the commit of this index."""
        self.session.push(self.message(index, b"result", value), self, index)

    def stop(self) -> None:
        """Leave."""
        self._watch.remove(self, self._keys)


class Hub:
    """Follows the chain for all sessions, from start() to stop(). index: of the last commit it has told."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.index = backend.commit_index
        self.commits: dict[CommitSubscription, None] = {}
        self.addresses: Watch[WatchSubscription] = Watch(ADDRESS_BYTES)
        self.ids: Watch[WatchSubscription] = Watch(DIGEST_BYTES)
        self.dag = DagCast(backend.running, backend.limits)
        self.sessions: dict[Session, None] = {}
        self.lagged = 0
        self._encoded: OrderedDict[int, bytes] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow."""
        self.dag.feed.start()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow no more."""
        self.dag.feed.stop()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def subscriptions(self) -> int:
        """Open ones, of all sessions."""
        return sum(len(session.subscriptions) for session in self.sessions)

    def encoded(self, event: CommitEvent) -> bytes:
        """A commit's event as JSON."""
        made = self._encoded.get(event.index)
        if made is None:
            made = orjson.dumps(forms.commit_form(event.sub_dag.commit, event.vertex_statuses))
            self._encoded[event.index] = made
            if len(self._encoded) > _KEPT:
                self._encoded.popitem(last=False)
        return made

    async def _follow(self) -> None:
        service, lookups = self.backend.running.service, self.backend.running.lookups
        while True:
            while self.index < self.backend.commit_index:
                event = lookups.event(self.index + 1)
                if event is None:  # neither in memory nor written yet
                    break
                self.index += 1
                self._tell(event)
                await asyncio.sleep(0)
            else:
                try:
                    await service.progress()
                except Exception:  # noqa: BLE001 - whatever has stopped the ledger: health tells what
                    self._end_all()
                    return
                continue
            await asyncio.sleep(_UNWRITTEN_S)

    def _end_all(self) -> None:
        for session in list(self.sessions):
            session.end(STOPPED_CLOSE, "the node has stopped")

    def _tell(self, event: CommitEvent) -> None:
        """Sync, so that who catches up sees the index and the event as one."""
        if self.commits:
            encoded = self.encoded(event)
            for subscription in list(self.commits):
                subscription.tell(event.index, encoded)
        if self.addresses and len(event.records):
            self._tell_addresses(event)
        if self.ids and len(event.records):
            self._tell_ids(event)

    def _tell_addresses(self, event: CommitEvent) -> None:
        senders = addresses_of(np.ascontiguousarray(event.records["sender"]))
        recipients = np.ascontiguousarray(event.records["recipient"])
        wanted: dict[int, dict[WatchSubscription, None]] = {}
        for rows in (senders, recipients):
            for found in self.addresses.find(rows):
                wanted.setdefault(found.row, {}).update(dict.fromkeys(found.waiters))
        for row in sorted(wanted):
            (form,) = forms.row_forms(event, [row], self.backend.network)
            value = orjson.dumps(form)
            for subscription in wanted[row]:
                subscription.tell(event.index, value)

    def _tell_ids(self, event: CommitEvent) -> None:
        ids = np.frombuffer(event.ids, np.uint8).reshape(-1, DIGEST_BYTES)
        for row, key, waiters in self.ids.find(ids):
            state = {
                "id": key.hex(),
                "phase": forms.PHASES[Phase.FINAL],
                **forms.place_form(Place(event.index, row)),
                "status": forms.status_name(int(event.statuses[row])),
            }
            value = orjson.dumps(state)
            for subscription in waiters:
                subscription.tell(event.index, value)
                self.ids.remove(subscription, [key])


class Session:
    """One socket: its subscriptions, and the queue of what it is to be told.

    on_end: called once with the code and the reason of the close that the session wants.
    """

    def __init__(self, hub: Hub, on_end: Callable[[int, str], None]) -> None:
        self.hub = hub
        self.subscriptions: dict[int, Subscription] = {}
        self.queued_bytes = 0
        self.has_ended = False
        self._limits = hub.backend.limits
        self._on_end = on_end
        # (data, subscription's number or 0, cursor): plain tuples of these cost the collector nothing.
        self._queue: deque[tuple[bytes, int, int]] = deque()
        self._numbers = count(1)
        self._new: list[Subscription] = []
        self._early: list[tuple[bytes, Subscription, int]] = []
        self._filled = asyncio.Event()
        self._moved = asyncio.Event()

    # What is to be told

    def push(self, data: bytes, subscription: Subscription | None = None, cursor: int = 0) -> None:
        """Queue a message; if there is no room, the session lags and ends."""
        if self.has_ended:
            return
        if subscription is not None and subscription.is_new:
            self._early.append((data, subscription, cursor))
            return
        if self.queued_bytes and self.queued_bytes + len(data) > self._limits.queue_bytes:
            self.lag()
            return
        self._queue.append((data, subscription.number if subscription else 0, cursor))
        self.queued_bytes += len(data)
        self._filled.set()

    def answer(self, data: bytes | None) -> None:
        """Queue an answer, if there is one, and start the subscriptions that it tells of."""
        if data is not None:
            self.push(data)
        started, self._new = self._new, []
        for subscription in started:
            subscription.is_new = False
        early, self._early = self._early, []
        for item in early:
            self.push(*item)
        for subscription in started:
            subscription.start()

    async def next(self) -> bytes:
        """The next message for the socket. Once it is asked for, the one before has been handed over."""
        while not self._queue:
            self._filled.clear()
            await self._filled.wait()
        return self._queue[0][0]

    def sent(self) -> None:
        """What `next` gave has been handed to the socket."""
        data, number, cursor = self._queue.popleft()
        self.queued_bytes -= len(data)
        if (subscription := self.subscriptions.get(number)) is not None:
            subscription.cursor = cursor
        self._moved.set()

    async def room(self) -> None:
        """Wait until half of the queue is free; a queue that does not move is a lag."""
        while self.queued_bytes > self._limits.queue_bytes // 2 and not self.has_ended:
            self._moved.clear()
            try:
                async with asyncio.timeout(self._limits.stall_ms / 1000):
                    await self._moved.wait()
            except TimeoutError:
                self.lag()

    def lag(self) -> None:
        """The client does not keep up."""
        if not self.has_ended:
            self.hub.lagged += 1
            told = [one.cursor for one in self.subscriptions.values()]
            self.end(LAG_CLOSE, f"lag cursor={min(told, default=self.hub.index)}")

    def end(self, code: int, reason: str) -> None:
        """Tell nothing more."""
        if not self.has_ended:
            self.has_ended = True
            self._on_end(code, reason)

    def close(self) -> None:
        """Let all subscriptions go."""
        for subscription in list(self.subscriptions.values()):
            self.forget(subscription)
        self._queue.clear()
        self.hub.sessions.pop(self, None)

    def forget(self, subscription: Subscription) -> None:
        """End one."""
        self.subscriptions.pop(subscription.number, None)
        subscription.stop()

    def next_number(self) -> int:
        """For a subscription to come. RpcError if there are as many as may be."""
        if len(self.subscriptions) >= self._limits.subscriptions:
            raise over_limit("subscriptions", "subscriptions of a connection", self._limits.subscriptions)
        return next(self._numbers)

    def add(self, subscription: Subscription) -> Json:
        """Take it on; it starts once its number is told. The answer for one that follows commits."""
        self.subscriptions[subscription.number] = subscription
        self._new.append(subscription)
        return {"subscription": subscription.number, "commit_index": subscription.cursor}

    # Methods

    def subscribe_commits(self, after: int | None) -> Json:
        """Tell of every commit behind `after`."""
        head = self.hub.index
        if after is not None and after > max(head, self.hub.backend.commit_index):
            raise Rejected("cursor_ahead", f"after: the last commit is {head}, got {after}")
        return self.add(CommitSubscription(self, self.next_number(), head if after is None else after))

    def subscribe_transactions(self, address: Address) -> Json:
        """Tell of every transaction of an account from now on."""
        return self.add(WatchSubscription(self, self.next_number(), self.hub.addresses, [address]))

    def subscribe_finality(self, ids: Sequence[Digest]) -> Json:
        """Tell when these become final; at once of those that are."""
        number = self.next_number()
        waiting: list[bytes] = []
        known: list[bytes] = []
        for transaction_id in dict.fromkeys(ids):
            state = state_of(self.hub.backend, transaction_id)
            if "status" in state:
                known.append(orjson.dumps(state))
            else:
                waiting.append(transaction_id)
        return self.add(WatchSubscription(self, number, self.hub.ids, waiting, known))

    def unsubscribe(self, subscription: int) -> Json:
        """End a subscription."""
        found = self.subscriptions.get(subscription)
        if found is not None:
            self.forget(found)
        return {"was_open": found is not None}
