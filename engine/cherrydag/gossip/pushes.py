"""How many vertices that nobody asked for a peer may push: what is beyond that is dropped unread.

Each costs a check of its signature and a turn of the loop, and an honest validator makes one a round. One
that is dropped and matters is referred to by others, and fetched.
"""

from typing import NamedTuple

from cherrydag.credit import Credit
from cherrydag.params import PEER_OTHERS
from cherrydag.primitives import Peer


class PushLimits(NamedTuple):
    """Pushes a second, of a validator and of another peer; credit for `seconds` of silence is kept."""

    validator_rate: int = 500
    other_rate: int = 100
    seconds: int = 2


class PushPace:
    """The credit of each peer. now_ms never sinks."""

    __slots__ = ("_credits", "_limits")

    def __init__(self, limits: PushLimits | None = None) -> None:
        self._limits = limits or PushLimits()
        self._credits: dict[Peer, Credit] = {}

    def admits(self, peer: Peer, now_ms: int) -> bool:
        """Whether a push of this peer is looked at. It costs credit only then."""
        rate = self._limits.validator_rate if peer < PEER_OTHERS else self._limits.other_rate
        burst = rate * self._limits.seconds
        credit = self._credits.get(peer) or Credit.full(burst, now_ms)
        admitted, self._credits[peer] = credit.take(rate, burst, now_ms)
        return admitted

    def gone(self, peer: Peer) -> None:
        """A peer that is no validator has disconnected, and comes back under another number."""
        if peer >= PEER_OTHERS:
            self._credits.pop(peer, None)
