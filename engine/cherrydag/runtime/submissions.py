"""What a client has handed in, and how far it has come: accepted, sequenced, final. By the batch."""

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from enum import IntEnum
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import Rejected
from cherrydag.mempool import AddStatus
from cherrydag.params import NONCE_WINDOW
from cherrydag.primitives import Digest
from cherrydag.transaction import Octets, RecordFault, Words

ROWS_MAX: Final = 1 << 20
"""Most transactions of one submission."""

_FOLLOWED: Final = (AddStatus.ADDED, AddStatus.REPLACED, AddStatus.DUPLICATE)
"""What the mempool said of rows that it keeps, under their own tag or another's."""

Rows: TypeAlias = npt.NDArray[np.intp] | Words
"""Numbers of rows. Those that arrays are indexed with more than once are intp, or each time converts them."""

_ROW_BITS: Final = np.uint64(20)
_SHORT_MAX: Final = 2**16 - 1
_FAULT_BASE: Final = 64
_FAULTS: Final = {fault.value: fault for fault in RecordFault}


class Phase(IntEnum):
    """How far a transaction has come. A final one is executed, and a power cut does not undo it."""

    REFUSED = 0
    """It was never taken; its code says why."""
    ACCEPTED = 1
    """It waits in this process. A crash forgets it: hand it in again, which is harmless."""
    SEQUENCED = 2
    """The main chain has given it its place, which is not durable yet."""
    FINAL = 3
    """Its place is durable and it is executed: `statuses` says with what result."""
    DROPPED = 4
    """It left the mempool unsequenced: it expired, or was outbid. It may be handed in again."""


SIGNATURE_CODE: Final = 32
"""Code of a transaction whose signature is not valid."""

UNFUNDED_CODE: Final = 33
"""Code of a transaction whose sender cannot pay its fee. It may be handed in again once that has changed."""


FAR_CODE: Final = 34
"""Code of a transaction whose nonce is too far above those that its sender has used: it would come to nothing
and pay nothing. It may be handed in again when those before it are final."""


def code_of_fault(faults: Octets) -> Octets:
    """Codes of structural faults: 64 and the RecordFault's number."""
    return np.where(faults > 0, faults + np.uint8(_FAULT_BASE), 0).astype(np.uint8)


def describe(code: int) -> tuple[str, str]:
    """A code's stable name, and what it says."""
    if code == SIGNATURE_CODE:
        return "transaction_signature", "the signature is not valid for this chain"
    if code == UNFUNDED_CODE:
        return "sender_unfunded", "the sender's balance was below the fee, as of the last commit"
    if code == FAR_CODE:
        return "sender_nonce_far", f"the nonce was {NONCE_WINDOW} or more above the lowest that is not used"
    if code > _FAULT_BASE:
        fault = _FAULTS[code - _FAULT_BASE]
        return f"transaction_{fault.name.lower()}", fault.text
    status = AddStatus(code)
    text = (status.__doc__ or status.name) if status.__doc__ != AddStatus.__doc__ else status.name
    return f"mempool_{status.name.lower()}", text.lower()


class SubmittedRows:
    """What is known of n transactions of one call.

    ids: n x 32 bytes. codes: n, AddStatus of those that reached the mempool, of the others SIGNATURE_CODE,
    UNFUNDED_CODE, FAR_CODE, or 64 plus the RecordFault. phases: n, a Phase each. statuses: n, execution's
    status of what is final. places: n, commit index << 32 | position within the commit, of what has a place.
    """

    __slots__ = ("codes", "ids", "phases", "places", "statuses")

    def __init__(self, ids: bytes) -> None:
        n = len(ids) // DIGEST_BYTES
        self.ids = ids
        self.codes = np.zeros(n, np.uint8)
        self.phases = np.full(n, Phase.ACCEPTED, np.uint8)
        self.statuses = np.zeros(n, np.uint8)
        self.places = np.zeros(n, np.uint64)

    def __len__(self) -> int:
        return len(self.codes)

    def id(self, row: int = 0) -> Digest:
        """The id of a transaction."""
        return Digest(self.ids[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES])

    def refusal(self, row: int = 0) -> Rejected:
        """The error that says why a row was refused."""
        name, text = describe(int(self.codes[row]))
        return Rejected(name, f"transaction {row}: {text}")


class Submission(SubmittedRows):
    """n transactions of one call, handed in to the ledger of this process.

    Await it, or call `wait`, until no row can change any more; `sequenced` until each has a place or never
    will. It belongs to its ledger's thread; reading it elsewhere is safe once it is settled.
    """

    __slots__ = ("_open", "_settled", "_unsequenced", "_was_sequenced")

    def __init__(self, ids: bytes) -> None:
        super().__init__(ids)
        self._open = self._unsequenced = len(self)
        self._settled: Future[Submission] = Future()
        self._was_sequenced: Future[Submission] = Future()
        self._tell()

    @property
    def is_settled(self) -> bool:
        """Whether no row can change any more."""
        return self._open == 0

    def wait(self, timeout_s: float | None = None) -> "Submission":
        """Block until settled; never on the ledger's loop. TimeoutError after timeout_s undoes nothing."""
        return self._settled.result(timeout_s)

    def wait_sequenced(self, timeout_s: float | None = None) -> "Submission":
        """Block until each row has a place, or never will."""
        return self._was_sequenced.result(timeout_s)

    async def sequenced(self) -> "Submission":
        """Await `wait_sequenced`."""
        return await asyncio.shield(asyncio.wrap_future(self._was_sequenced))

    async def final(self) -> "Submission":
        """Await `wait`."""
        return await asyncio.shield(asyncio.wrap_future(self._settled))

    def __await__(self) -> "Generator[object, None, Submission]":
        return self.final().__await__()

    # For the ledger

    def mark_refused(self, rows: Rows, codes: Octets | int) -> None:
        """Rows by number, none marked before. codes: of each, or of all."""
        self.codes[rows] = codes
        self.phases[rows] = Phase.REFUSED
        self._close(len(rows), len(rows))

    def mark_sequenced(self, rows: Rows, places: Words) -> None:
        """Rows by number, each accepted until now."""
        self.phases[rows] = Phase.SEQUENCED
        self.places[rows] = places
        self._close(0, len(rows))

    def mark_final(self, rows: Rows, places: Words, statuses: Octets) -> None:
        """Rows by number, accepted or sequenced until now."""
        fresh = int(np.count_nonzero(self.phases[rows] == Phase.ACCEPTED))
        self.phases[rows] = Phase.FINAL
        self.places[rows] = places
        self.statuses[rows] = statuses
        self._close(len(rows), fresh)

    def mark_dropped(self, rows: Rows) -> None:
        """Rows by number, accepted until now."""
        self.phases[rows] = Phase.DROPPED
        self._close(len(rows), len(rows))

    def fail(self, error: BaseException) -> None:
        """The ledger has stopped: what is open stays unknown until it is opened again."""
        for future in (self._was_sequenced, self._settled):
            if not future.done():
                future.set_exception(error)

    def _close(self, settled: int, sequenced: int) -> None:
        self._open -= settled
        self._unsequenced -= sequenced
        self._tell()

    def _tell(self) -> None:
        if self._unsequenced == 0 and not self._was_sequenced.done():
            self._was_sequenced.set_result(self)
        if self._open == 0 and not self._settled.done():
            self._settled.set_result(self)


class Tracker:
    """The submissions that are open, by the tags that the mempool keeps with their transactions.

    A tag is the submission's number << 20 | row; 0 is none. One transaction may be in several submissions.
    """

    def __init__(self) -> None:
        self._numbers = 0
        self._open: dict[int, Submission] = {}
        self._also: dict[Digest, list[tuple[int, int]]] = {}  # those that were handed in before

    def __len__(self) -> int:
        return len(self._open)

    def register(self, submission: Submission) -> int:
        """Follow a submission; its number."""
        self._numbers += 1
        self._open[self._numbers] = submission
        return self._numbers

    @staticmethod
    def tags(number: int, rows: Words) -> Words:
        """The tags of rows of the submission of this number."""
        return rows | np.uint64(number) << _ROW_BITS

    def follow(self, number: int, row: int) -> None:
        """A row of this one is a transaction that waits under another's tag, or nobody's."""
        self._also.setdefault(self._open[number].id(row), []).append((number, row))

    def sequenced(self, ids: bytes, tags: Words, places: Words) -> None:
        """These transactions have a place. Tags of 0 are nobody's."""
        for number, rows, at in self._groups(tags):
            self._open[number].mark_sequenced(rows, places[at])
        for number, row, place in self._followers(ids):
            submission = self._open[number]
            if submission.phases[row] == Phase.ACCEPTED:
                submission.mark_sequenced(_one(row), places[place : place + 1])

    def final(self, ids: bytes, tags: Words, places: Words, statuses: Octets) -> None:
        """These are executed."""
        for number, rows, at in self._groups(tags):
            self._open[number].mark_final(rows, places[at], statuses[at])
            self.release(number)
        for number, row, place in self._followers(ids):
            submission = self._open[number]
            submission.mark_final(_one(row), places[place : place + 1], statuses[place : place + 1])
            self._also.pop(submission.id(row), None)
            self.release(number)

    def dropped(self, tags: Words) -> None:
        """These left the mempool otherwise."""
        for number, rows, _ in self._groups(tags):
            submission = self._open[number]
            for row in rows.tolist() if self._also else ():
                for follower, place in self._also.pop(submission.id(row), ()):
                    if follower in self._open:
                        self._open[follower].mark_dropped(_one(place))
                        self.release(follower)
            submission.mark_dropped(rows)
            self.release(number)

    def give_up(self, number: int) -> None:
        """Nobody asks for this one any more. Rows that reached the mempool go on, for whoever follows them;
        the others come no further."""
        submission = self._open.get(number)
        if submission is None:
            return
        came_through = np.isin(submission.codes, _FOLLOWED)
        rows = np.flatnonzero(~came_through & (submission.phases == Phase.ACCEPTED))
        submission.mark_refused(rows, np.full(len(rows), AddStatus.FULL, np.uint8))
        self.release(number)

    def fail(self, error: BaseException) -> None:
        """The ledger has stopped."""
        for submission in self._open.values():
            submission.fail(error)
        self._open.clear()
        self._also.clear()

    def release(self, number: int) -> None:
        """Stop following a submission of which nothing is open."""
        submission = self._open.get(number)
        if submission is not None and submission.is_settled:
            del self._open[number]

    def _groups(self, tags: Words) -> list[tuple[int, Rows, Rows]]:
        """(number, its rows, where they stand in tags) of each open submission that has any."""
        at = np.flatnonzero(tags)
        if not at.size:
            return []
        tags = tags if at.size == len(tags) else tags[at]
        numbers, rows = tags >> _ROW_BITS, (tags & np.uint64(ROWS_MAX - 1)).astype(np.intp)
        since_first = numbers - numbers.min()
        if since_first.max() <= _SHORT_MAX:
            since_first = since_first.astype(np.uint16)  # which is sorted in one pass
        order = np.argsort(since_first, kind="stable")
        at, rows, numbers = at[order], rows[order], numbers[order]
        cuts = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)]
        found = [(int(numbers[a]), rows[a:b], at[a:b]) for a, b in pairwise(cuts)]
        return [group for group in found if group[0] in self._open]

    def _followers(self, ids: bytes) -> list[tuple[int, int, int]]:
        """(number, row, place in ids) of each open submission's row that is followed by its id.

        Several validators may have carried one transaction: of its copies in a commit the first counts.
        """
        if not self._also or not ids:
            return []
        heads = np.frombuffer(ids, "<u8")[:: DIGEST_BYTES // 8]
        wanted = np.frombuffer(b"".join(self._also), "<u8")[:: DIGEST_BYTES // 8]
        places: dict[Digest, int] = {}
        for at in np.flatnonzero(np.isin(heads, wanted)).tolist():
            places.setdefault(Digest(ids[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES]), at)
        return [
            (number, row, at)
            for transaction_id, at in places.items()
            for number, row in self._also.get(transaction_id, ())
            if number in self._open
        ]


def _one(row: int) -> Words:
    return np.array([row], np.uint64)
