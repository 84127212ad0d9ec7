"""Which rounds a quorum of stake has vertices in: the clock of the DAG."""

from cherrydag.committee import Committee
from cherrydag.primitives import Round, Stake, ValidatorIndex


class Rounds:
    """Stake with a vertex, by round, of the rounds above gc_round; an author counts once."""

    __slots__ = ("_authors", "_quorum", "_stake", "_stakes", "highest")

    def __init__(self, committee: Committee) -> None:
        self._stakes = [member.stake for member in committee.members]
        self._quorum = committee.quorum
        self._authors: dict[Round, int] = {}
        self._stake: dict[Round, int] = {}
        self.highest = Round(0)
        """The highest round with a quorum so far."""

    def note(self, round_: Round, author: ValidatorIndex) -> None:
        """A validator's vertex has entered the window."""
        authors = self._authors.get(round_, 0)
        if authors >> author & 1:
            return
        self._authors[round_] = authors | 1 << author
        stake = self._stake[round_] = self._stake.get(round_, 0) + self._stakes[author]
        if stake >= self._quorum and round_ > self.highest:
            self.highest = round_

    def stake(self, round_: Round) -> Stake:
        """Stake with a vertex in this round."""
        return Stake(self._stake.get(round_, 0))

    def has_quorum(self, round_: Round) -> bool:
        """Whether a quorum has one; the genesis has."""
        return self._stake.get(round_, 0) >= self._quorum or round_ == 0

    def forget(self, gc_round: Round) -> None:
        """Drop what is known of rounds at or below gc_round. O(those dropped) in the order of arrival."""
        for round_ in [round_ for round_ in self._stake if round_ <= gc_round]:
            del self._stake[round_], self._authors[round_]
