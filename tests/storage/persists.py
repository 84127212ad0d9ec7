"""Numbered writes whose content follows from the number alone, so that what is found can be told whole."""

from functools import cache
from typing import Final

from cherrydag import crypto
from cherrydag.commit import Commit
from cherrydag.consensus.effects import Persist, SwapRecord, Ticket
from cherrydag.consensus.leader import SwapTable
from cherrydag.params import RECORD_BYTES
from cherrydag.payload import EMPTY_PAYLOAD, EMPTY_ROOT, Payload
from cherrydag.primitives import Digest, Epoch, PublicKey, Round, TimestampMs, ValidatorIndex
from cherrydag.refs import VertexRef
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import Identity
from cherrydag.transaction import as_records
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


@cache
def _payload(records: int) -> Payload:
    """Records of zero bytes; the root is a mere claim."""
    if not records:
        return EMPTY_PAYLOAD
    return Payload(as_records(bytearray(records * RECORD_BYTES)), b"", None, EMPTY_ROOT)


def vertices_of(number: int) -> tuple[Vertex, ...]:
    """The vertices of a number, of round `number`: an operator's and two validators'."""
    before = Round(number - 1)
    refs = [VertexRef(before, ValidatorIndex(a), _digest(before, a)) for a in range(4)]
    payload = _payload(_LARGE if number % LARGE_EVERY == 0 else number % 3)
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
    newest = vertices_of(highest)[-1:] if highest else ()
    assert list(store.newest(ValidatorIndex(0))) == list(newest)
    return highest
