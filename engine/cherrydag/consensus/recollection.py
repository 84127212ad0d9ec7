"""What a validator must know of its own past before it proposes again (consensus.md, 7: amnesia).

Two vertices signed in one slot after a crash are the trap of this family of protocols. The sign mark is the
first line of defence; that a quorum has told what it knows of ours is the second.
"""

from cherrydag.committee import Committee
from cherrydag.consensus.ports import SignMark, SignState
from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import ConfigError
from cherrydag.primitives import Digest, Round, TimestampMs, ValidatorIndex


class Recollection:
    """Asks until a quorum of stake, our own included, has answered; keeps the round to propose above."""

    __slots__ = ("_answers", "_committee", "_interval_ms", "_margin", "ask_again_ms", "floor", "is_complete")

    def __init__(self, committee: Committee, me: ValidatorIndex, interval_ms: int, margin: int) -> None:
        self._committee = committee
        self._answers = {me: None}
        self._interval_ms = interval_ms
        self._margin = margin
        self.floor = Round(0)
        self.ask_again_ms: TimestampMs | None = None
        self.is_complete = self._has_quorum()
        """Whether enough have answered."""

    def begin(self, sign_state: SignState, own_round: Round, *, has_lost_sign_state: bool) -> None:
        """own_round: of our highest stored vertex. ConfigError if there is one and the mark is gone.

        has_lost_sign_state: an operator's word that it is gone for good; then what we signed may be above
        all that the answers name, but not by more than the margin.
        """
        mark = sign_state.load()
        if mark is None and own_round == 0:
            sign_state.record(SignMark(Round(0), Digest(bytes(DIGEST_BYTES))))
        if mark is not None:
            self.floor = max(own_round, mark.round)
        elif own_round and not has_lost_sign_state:
            raise ConfigError(
                f"sign state: none, but the store holds our vertex of round {own_round}; "
                "restore it, or declare it lost"
            )
        self._margin = self._margin if has_lost_sign_state and mark is None else 0

    def is_due(self, now_ms: TimestampMs) -> bool:
        """Whether to ask now; the next time is then set."""
        if self.is_complete or (self.ask_again_ms is not None and now_ms < self.ask_again_ms):
            return False
        self.ask_again_ms = TimestampMs(now_ms + self._interval_ms)
        return True

    def answered(self, source: ValidatorIndex, highest_round: Round, clock_round: Round) -> None:
        """A validator knows a vertex of ours of this round (0: none); clock_round is where the DAG stands."""
        self.floor = max(self.floor, highest_round)
        was_complete = self.is_complete
        self._answers[source] = None
        self.is_complete = self._has_quorum()
        if self.is_complete and not was_complete:
            self.ask_again_ms = None
            if self._margin:
                self.floor = Round(max(self.floor, clock_round) + self._margin)

    def _has_quorum(self) -> bool:
        return self._committee.stake_of(self._answers) >= self._committee.quorum
