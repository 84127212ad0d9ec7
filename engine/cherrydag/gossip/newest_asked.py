"""Who was asked for our own newest vertex and has not answered: others may know of more than we do."""

from collections.abc import Iterable, Iterator
from typing import Final

from cherrydag.errors import PeerFault
from cherrydag.gossip.effects import Send
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import GetNewest, Newest
from cherrydag.params import COMMITTEE_MAX, PEER_OTHERS
from cherrydag.primitives import Peer, ValidatorIndex

_ASKED_MAX: Final = 16 * COMMITTEE_MAX
"""Questions that may still be answered: slow links answer after the next one."""


class NewestAsked:
    """The questions of one node. me: None for one that is no validator, which asks nobody."""

    __slots__ = ("_asked", "_me", "_numbers")

    def __init__(self, me: ValidatorIndex | None, numbers: Iterator[int]) -> None:
        self._me = me
        self._numbers = numbers
        self._asked: dict[int, Peer] = {}

    def ask(self, peers: Iterable[Peer]) -> list[Send]:
        """Ask the validators among these."""
        requests: list[Send] = []
        for peer in peers:
            if peer < PEER_OTHERS and self._me is not None:
                number = next(self._numbers)
                self._asked[number] = peer
                if len(self._asked) > _ASKED_MAX:
                    del self._asked[next(iter(self._asked))]
                requests.append(Send(peer, GetNewest(number, self._me)))
        return requests

    def expects(self, peer: Peer, number: int) -> bool:
        """Whether this peer was asked under this number, and has not answered."""
        return self._asked.get(number) == peer

    def on_newest(self, peer: Peer, message: Newest) -> None:
        """Take an answer. Raises PeerFault with UNSOLICITED or NOT_ASKED."""
        if not self.expects(peer, message.number) or message.author != self._me:
            raise PeerFault(
                SyncFault.UNSOLICITED, f"number: peer {peer} was not asked under {message.number}"
            )
        del self._asked[message.number]
        if any(vertex.author != self._me for vertex in message.vertices):
            raise PeerFault(SyncFault.NOT_ASKED, "vertices: one is of another author than asked for")

    def gone(self, peer: Peer) -> None:
        """A peer is gone: it answers nothing any more."""
        self._asked = {number: asked for number, asked in self._asked.items() if asked != peer}
