"""Whose request is answered next, and when: serving others goes after consensus (network.md, overload).

A request costs its sender thirty bytes and us milliseconds. So each peer has a few that wait, validators and
others each have a share of the time for all of theirs, and within it whoever has cost least goes first: who
asks without end waits for itself.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from cherrydag.params import PEER_OTHERS
from cherrydag.primitives import Peer

T = TypeVar("T")
"""What the owner keeps of a request: its frame, which is not read before its turn."""


class TurnLimits(NamedTuple):
    """requests_max, bytes_max: of one peer that wait; an honest one has fewer under way, and they are
    shorter. validators_percent, others_percent: of the time, for answering all of either kind; 1 to 100."""

    requests_max: int = 32
    bytes_max: int = 1024 * 1024
    validators_percent: int = 30
    others_percent: int = 10


class _Queue(Generic[T]):
    """The requests of one peer, with their sizes."""

    __slots__ = ("requests", "size")

    def __init__(self) -> None:
        self.requests: deque[tuple[T, int]] = deque()
        self.size = 0


class _Kind(Generic[T]):
    """The requests of validators, or those of others."""

    __slots__ = ("cost_us", "percent", "ready_us", "spent_us", "waiting")

    def __init__(self, percent: int) -> None:
        self.percent = percent
        self.waiting: dict[Peer, _Queue[T]] = {}
        self.spent_us: dict[Peer, int] = {}
        self.cost_us = 0  # what the one whose turn came last had spent: nobody comes later with less
        self.ready_us = 0

    def next(self, has_room: Callable[[Peer], bool]) -> Peer | None:
        able = [peer for peer in self.waiting if has_room(peer)]
        return min(able, key=lambda peer: (self.spent_us[peer], peer), default=None)


class Turns(Generic[T]):
    """Requests that wait. Times are microseconds of a clock that never sinks."""

    __slots__ = ("_kinds", "_limits")

    def __init__(self, limits: TurnLimits | None = None) -> None:
        self._limits = limits or TurnLimits()
        percents = (self._limits.validators_percent, self._limits.others_percent)
        self._kinds: tuple[_Kind[T], ...] = tuple(_Kind(percent) for percent in percents)

    def __len__(self) -> int:
        """How many wait."""
        return sum(len(queue.requests) for kind in self._kinds for queue in kind.waiting.values())

    def put(self, peer: Peer, request: T, size: int) -> bool:
        """Let a request of so many bytes wait for its turn; False if too much of its peer's waits already."""
        kind, limits = self._kind(peer), self._limits
        queue = kind.waiting.get(peer)
        if queue is None:
            queue = kind.waiting[peer] = _Queue()
            kind.spent_us[peer] = max(kind.spent_us.get(peer, 0), kind.cost_us)
        if len(queue.requests) >= limits.requests_max or queue.size + size > limits.bytes_max:
            if not queue.requests:
                del kind.waiting[peer]
            return False
        queue.requests.append((request, size))
        queue.size += size
        return True

    def gone(self, peer: Peer) -> None:
        """A peer has disconnected: it wants nothing any more."""
        kind = self._kind(peer)
        kind.waiting.pop(peer, None)
        kind.spent_us.pop(peer, None)

    def take(self, now_us: int, has_room: Callable[[Peer], bool]) -> tuple[Peer, T] | None:
        """The request whose turn it is, if any; then call `served`.

        has_room: whether a peer has taken what it was sent before.
        """
        for kind in self._kinds:
            if now_us < kind.ready_us or (peer := kind.next(has_room)) is None:
                continue
            kind.cost_us = kind.spent_us[peer]
            queue = kind.waiting[peer]
            request, size = queue.requests.popleft()
            queue.size -= size
            if not queue.requests:
                del kind.waiting[peer]
            return peer, request
        return None

    def served(self, peer: Peer, cost_us: int, now_us: int) -> None:
        """An answer has cost so much: its peer has had that, and its kind rests in proportion."""
        kind = self._kind(peer)
        if peer in kind.spent_us:
            kind.spent_us[peer] += cost_us
        kind.ready_us = now_us + cost_us * (100 - kind.percent) // kind.percent

    def ready_us(self) -> int | None:
        """When `take` may have something, None if nothing waits. It has not while no peer has room."""
        return min((kind.ready_us for kind in self._kinds if kind.waiting), default=None)

    def _kind(self, peer: Peer) -> _Kind[T]:
        return self._kinds[peer >= PEER_OTHERS]
