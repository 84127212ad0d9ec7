"""What commit sync has asked and of whom, open or answered too late, and how long answers take."""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from cherrydag.errors import PeerFault
from cherrydag.gossip.faults import SyncFault
from cherrydag.primitives import Peer
from cherrydag.refs import AnyRef

_LATE_MAX: Final = 256


class Request(NamedTuple):
    """range_number: whose commits or vertices were asked for; refs: empty for commits."""

    peer: Peer
    range_number: int
    refs: tuple[AnyRef, ...]
    asked_ms: int
    deadline_ms: int


class Answered(NamedTuple):
    """The request that an answer is to. is_late: it had been given up, and others may have been asked."""

    request: Request
    is_late: bool


class SyncRequests:
    """Requests by number, in the order in which they were made."""

    __slots__ = ("_answer_ms", "_late", "_open")

    def __init__(self) -> None:
        self._open: dict[int, Request] = {}
        self._late: dict[int, Request] = {}
        self._answer_ms = 0

    def open(self, number: int, request: Request) -> None:
        """A request goes out."""
        self._open[number] = request

    def items(self) -> list[tuple[int, Request]]:
        """Those that are open, oldest first."""
        return list(self._open.items())

    def values(self) -> Iterator[Request]:
        """Those that are open, oldest first."""
        return iter(self._open.values())

    def expects(self, peer: Peer, number: int) -> bool:
        """Whether this peer was asked under this number, and has not answered."""
        request = self._open.get(number) or self._late.get(number)
        return request is not None and request.peer == peer

    def take(self, peer: Peer, number: int, now_ms: int, *, of_vertices: bool) -> Answered:
        """An answer has come: its request, closed. Raises PeerFault with UNSOLICITED."""
        is_late = number not in self._open
        requests = self._late if is_late else self._open
        request = requests.get(number)
        if request is None or request.peer != peer or bool(request.refs) != of_vertices:
            raise PeerFault(SyncFault.UNSOLICITED, f"number: peer {peer} was not asked this under {number}")
        del requests[number]
        self._answer_ms = (3 * self._answer_ms + now_ms - request.asked_ms) // 4
        return Answered(request, is_late)

    def give_up(self, number: int) -> Request:
        """Close a request without an answer, which may still come late."""
        request = self._late[number] = self._open.pop(number)
        if len(self._late) > _LATE_MAX:
            del self._late[next(iter(self._late))]
        return request

    def load(self, now_ms: int) -> Counter[Peer]:
        """How many answers each peer owes; what is late beyond its deadline is not expected any more."""
        late = (request for request in self._late.values() if request.deadline_ms > now_ms)
        return Counter(request.peer for request in (*self._open.values(), *late))

    def patience_ms(self, least_ms: int) -> int:
        """How long to wait for an answer that holds up others: twice what they take, but so long at least."""
        return max(least_ms, 2 * self._answer_ms)
