"""Numbered writes whose content follows from the number alone, so that what is found can be told whole."""

from functools import lru_cache
from typing import Final

import numpy as np

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.commit import Commit
from cherrydag.consensus.effects import Persist, SwapRecord, Ticket
from cherrydag.consensus.leader import SwapTable
from cherrydag.payload import EMPTY_PAYLOAD, Payload, build_payload
from cherrydag.primitives import Digest, Epoch, PublicKey, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import VertexRef
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import Identity
from cherrydag.storage.values import CommitOutcome
from cherrydag.transaction import RECORD, Octets
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

EPOCH: Final = Epoch(7)
IDENTITY: Final = Identity(Digest(bytes(range(32))), EPOCH)

VERTICES: Final = 3
"""Vertices of each number."""

SWAPS_EVERY: Final = 7
LARGE_EVERY: Final = 11
_LARGE = 300
_ISSUER = PublicKey(bytes(range(100, 132)))


def _digest(*label: object) -> Digest:
    return Digest(crypto.hash_bytes(repr(label).encode()))


def _payload(number: int, count: int) -> Payload:
    """Records that differ, every third of them with a body."""
    if not count:
        return EMPTY_PAYLOAD
    records = np.zeros(count, RECORD)
    records["nonce"] = number * 1000 + np.arange(count)
    records["body_size"][::3] = np.arange(count)[::3] % 50 + number % 3
    size = int(records["body_size"].sum())
    bodies = bytes((number + at) % 256 for at in range(size))
    return build_payload(records, Chain.of(IDENTITY.genesis_digest), bodies)


@lru_cache(maxsize=1 << 14)
def vertices_of(number: int) -> tuple[Vertex, ...]:
    """The vertices of a number, of round `number`: an operator's and two validators'."""
    before = Round(number - 1)
    refs = [VertexRef(before, ValidatorIndex(a), _digest(before, a)) for a in range(4)]
    payload = _payload(number, _LARGE if number % LARGE_EVERY == 0 else number % 3)
    time_ms = TimestampMs(number)
    operators = OperatorVertex(EPOCH, _ISSUER, number, before, time_ms, tuple(refs[:2]), payload)
    validators = [
        ValidatorVertex(EPOCH, Round(number), ValidatorIndex(author), time_ms, (refs[author], *refs[2:]))
        for author in (1, 0)
    ]
    return (operators, *validators)


def commit_of(number: int) -> Commit:
    """The commit of a number."""
    refs = tuple(vertex.ref for vertex in vertices_of(number))
    return Commit(EPOCH, number, _digest("commit", number - 1), TimestampMs(number), refs)


def swaps_of(number: int) -> SwapRecord | None:
    """The swap table of a number, if it brings one."""
    if number % SWAPS_EVERY:
        return None
    return SwapRecord(number, SwapTable((ValidatorIndex(number % 4),), (ValidatorIndex((number + 1) % 4),)))


def persist_of(number: int, ticket: int) -> Persist:
    """What is written for a number."""
    swaps = swaps_of(number)
    return Persist(Ticket(ticket), vertices_of(number), (commit_of(number),), (swaps,) if swaps else ())


def statuses_of(number: int) -> list[Octets]:
    """What became of the transactions of a number."""
    counts = [len(vertex.payload) for vertex in vertices_of(number)]
    return [(np.arange(count) * number % 251).astype(np.uint8) for count in counts]


def receipts_of(number: int) -> bytes:
    """The receipts of a number; some have none."""
    return repr(("receipt", number)).encode() * (number % 30)


def outcome_of(number: int) -> CommitOutcome:
    """The outcome of a number."""
    return CommitOutcome(number, tuple(statuses_of(number)), receipts_of(number))


def execute(store: LmdbStore, number: int) -> int:
    """Write the outcome of a number; its batch."""
    return store.write_outcome(number, statuses_of(number), vertices_of(number), receipts_of(number))


def check(store: LmdbStore, depth: int) -> int:
    """The last number in the store; AssertionError unless it holds 1 .. last, whole, and nothing else.

    depth: how many of the last numbers are read.
    """
    last = store.last_commit()
    highest = last.index if last else 0
    numbers = range(max(1, highest - depth + 1), highest + 1)
    assert list(store.commits(numbers.start, highest + 99)) == [commit_of(number) for number in numbers]
    wanted = [vertex for number in numbers for vertex in vertices_of(number)]
    assert store.vertices([vertex.ref for vertex in wanted]) == wanted
    above = [vertex for vertex in wanted if vertex.ref[0] > numbers.start]
    assert list(store.vertices_above(Round(numbers.start))) == above
    assert store.next_seq == VERTICES * highest
    assert store.swaps() == swaps_of(highest - highest % SWAPS_EVERY) or highest < SWAPS_EVERY
    executed = range(numbers.start, (store.outcomes_bounds() or (1, 0))[1] + 1)
    assert list(store.outcomes(executed.start, highest + 99)) == [outcome_of(number) for number in executed]
    newest = vertices_of(highest)[-1:] if highest else ()
    assert list(store.newest(ValidatorIndex(0))) == list(newest)
    return highest


def steps(store: LmdbStore) -> int:
    """How many writes are there, where the ticket of each number is followed by its outcome, and that by the
    ticket of the next: what is there must be a beginning of that sequence."""
    last = store.last_commit()
    executed = store.outcomes_bounds()
    found = (last.index if last else 0) + (executed[1] if executed else 0)
    assert executed is None or executed[0] == 1
    assert (executed[1] if executed else 0) == found // 2
    return found
