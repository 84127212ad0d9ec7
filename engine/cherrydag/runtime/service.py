"""The ledger as a service on an event loop: what clients may ask, whatever carries their questions.

submit → structural checks → ids → signatures, on the workers → mempool → our next vertex. What becomes of a
transaction comes back through the tag that the mempool keeps with it. Reads are in `lookups`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from cherrydag.commit import Commit
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import Closed, NoRoom, Overloaded, Rejected
from cherrydag.execution.accounts import Status
from cherrydag.mempool import AddStatus, Mempool, MempoolSource, Presence
from cherrydag.overload import OverloadControl
from cherrydag.params import BODY_BYTES_MAX, VALID_FOREVER
from cherrydag.payload import body_offsets
from cherrydag.primitives import Digest
from cherrydag.runtime.books import Executed, places_of
from cherrydag.runtime.funding import Funding
from cherrydag.runtime.gate import Gate
from cherrydag.runtime.host import Host
from cherrydag.runtime.lookups import Lookups
from cherrydag.runtime.service_limits import ServiceLimits
from cherrydag.runtime.slices import Mask, Slice
from cherrydag.runtime.submissions import (
    FAR_CODE,
    ROWS_MAX,
    SIGNATURE_CODE,
    UNFUNDED_CODE,
    Phase,
    Submission,
    Tracker,
    code_of_fault,
)
from cherrydag.runtime.verification import Signatures, Verifier
from cherrydag.transaction import Bytes, Octets, Records, Words, check_records, transaction_ids
from cherrydag.verify import EpochRules
from cherrydag.vertex import Vertex

SLICE: Final = 8192
"""Transactions of a submission that are checked and admitted at a time. A solo chain puts each slice into a
vertex of its own, and the two rounds that commit it cost the same however full it is."""

SLICES_AHEAD: Final = 2
"""Slices of one submission whose signatures are being checked at a time."""

NO_ROOM_RETRY_MS: Final = 1000
"""When to come back while the disk is full, which is tried again as often."""

_SWEEP_S: Final = 1.0
"""How often expired transactions are looked for."""

_TRANSIENT: Final = np.isin(np.arange(256), (AddStatus.SENDER_FULL, AddStatus.FULL))
"""Refusals that the next commit may lift."""


class Service:
    """Admits transactions and tells what becomes of them. It is its host's listener.

    Once the host has stopped, every open submission and every call raises the cause.
    """

    def __init__(
        self,
        rules: EpochRules,
        mempool: Mempool,
        source: MempoolSource,
        verifier: Verifier,
        limits: ServiceLimits,
    ) -> None:
        self.rules = rules
        self.mempool = mempool
        self.tracker = Tracker()
        control = OverloadControl(limits.overload, len(rules.committee))
        self.gate = Gate(control, mempool, self.tracker, limits.submissions_max)
        self._source = source
        self._verifier = verifier
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        # Ids and tags of commits that are not executed yet.
        self._settled: dict[int, tuple[bytes, Words]] = {}
        self.check_admits: Callable[[], None] = lambda: None
        """Raises Rejected if this node takes no transactions at all."""
        self._progress: asyncio.Future[None] = self._loop.create_future()
        self._failure: BaseException | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._wall_s = 0

    def attach(self, host: Host, lookups: Lookups, no_room: Callable[[], NoRoom | None]) -> None:
        """Begin, with the host that feeds this service, what it can look up, and what tells that the disk is
        full."""
        self._no_room = no_room
        self.host = host
        self.lookups = lookups
        self.funding = Funding(self.mempool, lookups, lambda: self._progress, self._limits.funding_ms)
        self._sweep()

    def close(self) -> None:
        """Let everybody who waits go: what is open is resolved by id when the ledger is opened again."""
        self.on_failure(Closed("the ledger is closed"))

    # Submission

    async def submit(self, records: Records, bodies: Bytes = b"", *, wait: bool = True) -> Submission:
        """Hand in n transactions; on return each is accepted or refused, by row.

        bodies: of the records that have one, end to end. wait: whether to wait for room in the mempool where
        there is none; otherwise such rows are refused. One that was handed in before is accepted again and
        gets the same result. Raises Rejected if the submission as a whole is out of bounds, Overloaded if
        too many are open, if more waits than will be final in time and this is not to wait for it, or while
        the disk is full.
        """
        self._check_running()
        self.check_admits()
        self._check_room()
        n = len(records)
        if n > ROWS_MAX:
            raise Rejected("submission_rows", f"submission: at most {ROWS_MAX} transactions, got {n}")
        stated = int(records["body_size"].sum(dtype=np.uint64))
        if stated != len(bodies):
            raise Rejected(
                "submission_bodies", f"bodies: the records state {stated} bytes, got {len(bodies)}"
            )
        await self.gate.enter(self._next_admission, wait=wait)
        records = np.ascontiguousarray(records)
        offsets = body_offsets(records, len(bodies))
        ids = transaction_ids(records, self.rules.chain.transaction_key, bodies, offsets)
        submission = Submission(ids)
        number = self.tracker.register(submission)
        try:
            await self._admit_all(submission, number, records, bodies, offsets, wait)
        finally:
            self.tracker.release(number)
        return submission

    def _check_room(self) -> None:
        no_room = self._no_room()
        if no_room is not None:
            raise Overloaded(f"the disk is full: {no_room}", retry_after_ms=NO_ROOM_RETRY_MS)

    def _observe(self) -> None:
        self.gate.observe(self._source.drained)
        self._source.transactions_max = self.gate.overload.vertex_max

    async def _admit_all(
        self,
        submission: Submission,
        number: int,
        records: Records,
        bodies: Bytes,
        offsets: Words | None,
        wait: bool,
    ) -> None:
        n = len(records)
        slices = []
        for start in range(0, n, SLICE):
            stop = min(n, start + SLICE)
            part = bodies[int(offsets[start]) : int(offsets[stop])] if offsets is not None else b""
            rows = np.arange(start, stop, dtype=np.uint64)
            ids = submission.ids[start * DIGEST_BYTES : stop * DIGEST_BYTES]
            slices.append(Slice(rows, records[start:stop], ids, bytes(part)))
        checks: list[asyncio.Task[Octets]] = []
        holds: list[asyncio.Task[None]] = []
        unchecked = n
        self.gate.arriving += unchecked
        try:
            for at, item in enumerate(slices):
                while len(checks) < min(len(slices), at + SLICES_AHEAD):
                    checks.append(self._loop.create_task(self._check(slices[len(checks)])))
                codes = await checks[at]
                self._check_running()
                unchecked -= len(item.rows)
                self.gate.arriving -= len(item.rows)
                unpaid = await self._admit(submission, number, item, codes, wait)
                holds += [self._loop.create_task(self._hold(submission, number, it, wait)) for it in unpaid]
            if holds:
                await asyncio.gather(*holds)
        except BaseException:
            for task in (*checks, *holds):
                task.cancel()
                task.add_done_callback(lambda done: done.cancelled() or done.exception())  # which nobody asks
            self.tracker.give_up(number)
            raise
        finally:
            self.gate.arriving -= unchecked

    async def _check(self, item: Slice) -> Octets:
        """Codes of rows that can never be accepted, 0 for the others."""
        faults = check_records(
            item.records,
            now_s=self.chain_time_s,
            fee_min=max(self._limits.fee_min, self.rules.fee_min),
            body_bytes_max=BODY_BYTES_MAX,
            kinds=self.rules.kinds,
        )
        codes = code_of_fault(faults)
        if self.funding.is_full:
            unpaid = (codes == 0) & self.funding.judge(item)[0]
            codes[unpaid] = UNFUNDED_CODE
            self.funding.refused += int(unpaid.sum())
        sound = codes == 0
        if sound.any():
            checked = item if sound.all() else item.kept(sound)
            valid = await self._verifier.check(Signatures.of_records(checked.records, checked.ids))
            codes[np.flatnonzero(sound)[valid == 0]] = SIGNATURE_CODE
        return codes

    async def _admit(
        self, submission: Submission, number: int, item: Slice, codes: Octets, wait: bool
    ) -> list[Slice]:
        """Refuse rows by their codes, and add those that can pay; those that cannot yet."""
        bad = codes > 0
        if bad.any():
            submission.mark_refused(item.rows[bad], codes[bad])
            item = item.kept(~bad)
        held: list[Slice] = []
        while True:
            unpaid, far = self.funding.judge(item)
            is_due = ~(unpaid | far)
            if unpaid.any():
                held.append(item.kept(unpaid))
            await self._add(submission, number, item if is_due.all() else item.kept(is_due), wait)
            if not far.any():
                return held
            item = item.kept(far)
            is_near = wait and await self.funding.comes_near(item)
            self._check_running()
            if not is_near:
                submission.mark_refused(item.rows, FAR_CODE)
                return held

    async def _hold(self, submission: Submission, number: int, item: Slice, wait: bool) -> None:
        """Those that cannot pay yet: each slice for its own while, beside the slices behind it."""
        late = await self.funding.hold(item, lambda part: self._add(submission, number, part, wait))
        if len(late):
            submission.mark_refused(late, UNFUNDED_CODE)

    async def _add(self, submission: Submission, number: int, item: Slice, wait: bool) -> None:
        """Into the mempool, or not, by row."""
        self._check_running()
        while len(item.rows):
            progress = self._progress
            offsets = body_offsets(item.records, len(item.bodies))
            tags = self.tracker.tags(number, item.rows)
            found = self.mempool.add(item.records, item.ids, self._wall_s, item.bodies, offsets, tags)
            again = _TRANSIENT[found] & wait
            self._account(submission, number, item, found, again)
            self._take_drops()
            self.host.on_payload()
            if not again.any():
                return
            item = item.kept(again)
            await asyncio.shield(progress)
            self._check_running()
            self._check_room()

    def _account(self, submission: Submission, number: int, item: Slice, found: Octets, again: Mask) -> None:
        submission.codes[item.rows] = found
        if found.max() <= AddStatus.REPLACED:
            return
        twice = found == AddStatus.DUPLICATE
        for at in np.flatnonzero(twice).tolist():
            self._join(submission, number, int(item.rows[at]))
        refused = (found > AddStatus.REPLACED) & ~twice & ~again
        if refused.any():
            submission.mark_refused(item.rows[refused], found[refused])

    def _join(self, submission: Submission, number: int, row: int) -> None:
        """A transaction that was handed in before: tell of it what is told of the first one."""
        transaction_id = submission.id(row)
        if Presence(self.mempool.status(transaction_id)[0]) is Presence.SETTLED:
            found = self.lookups.outcome(transaction_id)
            if found is not None:
                place, status = np.array([found.place.number], np.uint64), np.array([found.status], np.uint8)
                submission.mark_final(np.array([row], np.uint64), place, status)
                return
        self.tracker.follow(number, row)

    def phase(self, transaction_id: Digest) -> Phase | None:
        """How far a transaction has come; None if this node does not know it."""
        presence = Presence(self.mempool.status(transaction_id)[0])
        if presence in (Presence.WAITING, Presence.TAKEN):
            return Phase.ACCEPTED
        if self.lookups.outcome(transaction_id) is not None:
            return Phase.FINAL
        return Phase.SEQUENCED if presence is Presence.SETTLED else None

    # What the host tells

    def on_sequenced(self, commit: Commit, ids: Sequence[bytes | None]) -> None:
        """Settle what a commit holds as soon as it is known; nothing is known of what others made."""
        if any(found is None for found in ids):
            return
        self._settle(commit.index, b"".join(found or b"" for found in ids))

    def on_executed(self, executed: Executed) -> None:
        """A commit is final."""
        index = executed.result.index
        if index not in self._settled:
            self._settle(index, executed.all_ids)
        ids, tags = self._settled.pop(index)
        statuses, places = executed.all_statuses, executed.places
        if ids:
            again = np.flatnonzero((statuses == Status.NONCE_USED) & (tags > 0))
            if again.size:
                statuses, places = self._first_copies(ids, statuses, places, again.tolist())
            self.tracker.final(ids, tags, places, statuses)
            self.mempool.forget(executed.passing_ids)
        self._source.on_committed(executed.sub_dag.vertices)
        self._observe()
        self.lookups.note(executed)
        self._tell_progress()

    def on_lost(self, vertices: Sequence[Vertex]) -> None:
        """What our vertices carried waits again."""
        self._source.on_lost(vertices)
        self._take_drops()

    def on_failure(self, error: BaseException) -> None:
        """The host has stopped."""
        if self._failure is None:
            self._failure = error
            if self._sweeper is not None:
                self._sweeper.cancel()
            self.tracker.fail(error)
            self._tell_progress()

    def _settle(self, index: int, ids: bytes) -> None:
        tags = np.zeros(len(ids) // DIGEST_BYTES, np.uint64)
        if ids:
            self.mempool.settle(ids, tags)
            self.tracker.sequenced(ids, tags, places_of(index, len(tags)))
        self._settled[index] = ids, tags

    def _first_copies(
        self, ids: bytes, statuses: Octets, places: Words, again: list[int]
    ) -> tuple[Octets, Words]:
        """What is said of second copies: the result of the first."""
        statuses, places = statuses.copy(), places.copy()
        for at in again:
            found = self.lookups.outcome(Digest(ids[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]))
            if found is not None:
                statuses[at], places[at] = found.status, found.place.number
        return statuses, places

    # Waiting

    async def progress(self) -> None:
        """Await the next commit. Raises what has stopped the ledger."""
        await asyncio.shield(self._next_progress())
        self._check_running()

    def _next_admission(self) -> "asyncio.Future[None]":
        self._check_room()
        return self._next_progress()

    def _next_progress(self) -> "asyncio.Future[None]":
        self._check_running()
        return self._progress

    def _tell_progress(self) -> None:
        told, self._progress = self._progress, self._loop.create_future()
        if not told.done():
            told.set_result(None)

    def _check_running(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _take_drops(self) -> None:
        tags, _ = self.mempool.drain_dropped()
        if len(tags):
            self.tracker.dropped(tags)

    def _sweep(self) -> None:
        """Drop what has expired; the mempool goes round in steps."""
        self._wall_s = min(self.host.wall_ms // 1000, VALID_FOREVER)
        self.mempool.expire(self._wall_s)
        self._take_drops()
        self._observe()
        if self._no_room() is not None:
            self._tell_progress()  # whoever waits to hand something in is told
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    @property
    def chain_time_s(self) -> int:
        """Main-chain time, by which expiry is judged: never ahead of what a commit has said."""
        return self.lookups.time_s
