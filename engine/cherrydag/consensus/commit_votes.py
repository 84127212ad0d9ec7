"""Which commit the validators have reached, by the votes in their vertices.

Validity, f + 1 of stake, holds an honest validator, and what one honest validator has committed all will. A
quorum must not be asked for: of its N - f a laggard is one, and the f faulty may never vote.
"""

from cherrydag.committee import Committee
from cherrydag.vertex import ValidatorVertex


class CommitVotes:
    """The highest index that each validator has voted for, and the highest that is committed for certain.

    A vertex counts from when its signature is known to be good, whether or not its parents are there.
    """

    __slots__ = ("_above", "_committee", "_highest", "committed_index")

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._highest = [0] * len(committee)
        self._above = 0  # stake of those that are above committed_index
        self.committed_index = 0

    def note(self, vertex: ValidatorVertex) -> None:
        """Count a vertex's commit votes. O(1) unless committed_index moves."""
        if not vertex.commit_votes:
            return
        index = vertex.commit_votes[-1].commit_index
        before = self._highest[vertex.author]
        if index <= before:
            return
        self._highest[vertex.author] = index
        if before <= self.committed_index < index:
            self._above += self._committee.members[vertex.author].stake
            if self._above >= self._committee.validity:
                self._move()

    def highest(self, author: int) -> int:
        """The highest index that this validator has voted for; 0 if none."""
        return self._highest[author]

    def _move(self) -> None:
        stakes = [member.stake for member in self._committee.members]
        total = 0
        for index, stake in sorted(zip(self._highest, stakes, strict=True), reverse=True):
            total += stake
            if total >= self._committee.validity:
                self.committed_index = index
                break
        pairs = zip(self._highest, stakes, strict=True)
        self._above = sum(stake for index, stake in pairs if index > self.committed_index)
