"""Scores of validators over a period's vertices at once (consensus, 5): what main_chain.Tally must equal."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from cherrydag.committee import Committee
from cherrydag.primitives import ValidatorIndex
from cherrydag.refs import VertexRef


@dataclass(frozen=True, slots=True)
class CommittedVertex:
    """What scoring needs of a committed validator vertex."""

    ref: VertexRef
    ancestors: tuple[VertexRef, ...]


def score(
    committee: Committee, leaders: Iterable[VertexRef], committed: Iterable[CommittedVertex]
) -> list[int]:
    """How well each author voted, an integer each, over the vertices committed since the last update.

    A committed vertex of round r + 1 that links a committed leader of round r is a vote; its author gains
    the stake of the distinct authors of committed vertices of round r + 2 that link the vote. Votes that
    others saw in time thus weigh more, and nobody can score without the others' links. Who has more than
    one committed vertex in a round gains nothing there.
    """
    led = set(leaders)
    vertices = list(committed)
    votes = {v.ref for v in vertices if any(a in led and a.round + 1 == v.ref.round for a in v.ancestors)}
    linked_by: defaultdict[VertexRef, set[ValidatorIndex]] = defaultdict(set)
    for vertex in vertices:
        for ancestor in vertex.ancestors:
            if ancestor in votes and ancestor.round + 1 == vertex.ref.round:
                linked_by[ancestor].add(vertex.ref.author)
    made = Counter((vertex.ref.round, vertex.ref.author) for vertex in vertices)
    scores = [0] * len(committee)
    for vote, authors in linked_by.items():
        if made[vote.round, vote.author] == 1:
            scores[vote.author] += committee.stake_of(authors)
    return scores
