"""Of whom to ask next: peers scored on what they delivered, not on what they claim to have."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cherrydag.params import PEER_OTHERS
from cherrydag.primitives import Peer


@dataclass(slots=True, eq=False)
class _Score:
    """What is known of a peer.

    index: the commit it is said to have. lies: false answers ever. failures: requests since the last good
    answer that brought little or nothing. turn: when it was last asked. ask_at_ms: not to be asked before.
    """

    index: int = 0
    lies: int = 0
    failures: int = 0
    turn: int = 0
    ask_at_ms: int = 0


class PeerScores:
    """The peers that can be asked; what happens with others is not kept.

    Who fails pauses for pause_ms, doubling up to pause_max_ms.
    """

    __slots__ = ("_pause_max_ms", "_pause_ms", "_peers", "_scores", "_turn")

    def __init__(self, pause_ms: int, pause_max_ms: int) -> None:
        self._pause_ms = pause_ms
        self._pause_max_ms = pause_max_ms
        self._peers: tuple[Peer, ...] = ()
        self._scores: dict[Peer, _Score] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._peers)

    def set_peers(self, peers: Sequence[Peer]) -> None:
        """Whom to ask from now on. The scores of validators outlast a disconnection."""
        self._peers = tuple(peers)
        kept = {peer: score for peer, score in self._scores.items() if peer < PEER_OTHERS or peer in peers}
        self._scores = kept | {peer: kept.get(peer) or _Score() for peer in peers}

    def set_index(self, peer: Peer, index: int) -> None:
        """A peer is said to have the commits up to this index. A peer that cannot be asked is ignored."""
        if peer in self._scores:
            self._scores[peer].index = max(self._scores[peer].index, index)

    def best(
        self,
        index: int,
        preferred: Peer | None,
        now_ms: int,
        busy: Collection[Peer],
        load: Mapping[Peer, int],
    ) -> Peer | None:
        """Whom to ask for something of this commit, None if all are busy or pause.

        Liars last, then those that fail, then those not known to have the commit, then those that owe more
        answers (load); the preferred one before its equals, otherwise the one that was not asked for longest.
        """
        chosen: tuple[tuple[int, int, bool, int, bool, int], Peer] | None = None
        for peer in self._peers:
            score = self._scores[peer]
            if score.ask_at_ms <= now_ms and peer not in busy:
                merit = (score.lies, score.failures, score.index < index)
                rank = (*merit, load.get(peer, 0), peer != preferred, score.turn)
                if chosen is None or rank < chosen[0]:
                    chosen = rank, peer
        return None if chosen is None else chosen[1]

    def asked(self, peer: Peer) -> None:
        """A request goes to this peer: now the others have their turn."""
        self._turn += 1
        self._scores[peer].turn = self._turn

    def delivered(self, peer: Peer) -> None:
        """It has answered in full."""
        if (score := self._scores.get(peer)) is not None:
            score.failures = 0

    def failed(self, peer: Peer, now_ms: int) -> None:
        """It has brought nothing, or less than it could."""
        score = self._scores.get(peer)
        if score is None:
            return
        pause_ms = self._pause_ms << min(score.failures, 16)
        score.failures += 1
        score.ask_at_ms = now_ms + min(pause_ms, self._pause_max_ms)

    def lied(self, peer: Peer, now_ms: int) -> None:
        """It has given a false answer: it comes last from now on."""
        if (score := self._scores.get(peer)) is not None:
            score.lies += 1
            self.failed(peer, now_ms)

    def lies(self, peer: Peer) -> int:
        """How many false answers it has given."""
        score = self._scores.get(peer)
        return 0 if score is None else score.lies

    def wake_at_ms(self, now_ms: int) -> int | None:
        """When the first of those that pause can be asked again."""
        times = [self._scores[peer].ask_at_ms for peer in self._peers]
        return min((at_ms for at_ms in times if at_ms > now_ms), default=None)
