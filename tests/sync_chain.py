"""A main chain with all its vertices, as the tests of sync and stores need it: commit k orders round k.

Vertices of round r vote for commit r - 3. Nothing is signed: what is genuine is known by its digest.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import count

from vertices import CHAIN, EPOCH, GENESIS, digest, operator_vertex, transfers, validator_vertex

from cherrydag.commit import Commit, CommitVote
from cherrydag.consensus.effects import Persist, Ticket
from cherrydag.payload import build_payload
from cherrydag.refs import AnyRef, VertexRef
from cherrydag.storage.memory import MemoryStore
from cherrydag.vertex import ValidatorVertex, Vertex

ORIGIN = digest("origin")
"""What the first commit links to."""

VOTE_DELAY = 3


@dataclass(frozen=True)
class MainChain:
    """commits[k] has index k + 1; vertices by reference."""

    commits: tuple[Commit, ...]
    vertices: dict[AnyRef, Vertex]

    def digest_at(self, index: int) -> bytes:
        return ORIGIN if index == 0 else self.commits[index - 1].digest

    def of(self, commit: Commit) -> tuple[Vertex, ...]:
        return tuple(self.vertices[ref] for ref in commit.vertices)

    def store(self, first: int = 1, last: int | None = None) -> MemoryStore:
        """A store with these commits and their vertices, one ticket for each."""
        store, tickets = MemoryStore(), count(1)
        for commit in self.commits[first - 1 : last]:
            store.write(Persist(Ticket(next(tickets)), self.of(commit), (commit,), ()))
        return store


@cache
def main_chain(length: int, operators: bool = True, label: str = "", votes: int = 4) -> MainChain:
    """A chain of so many commits of four validators; every fifth commit orders an operator's vertex too, and
    every seventh has a payload. Another label makes another chain. votes: how many of the four vote."""
    previous: tuple[VertexRef, ...] = tuple(GENESIS)
    commits: list[Commit] = []
    vertices: dict[AnyRef, Vertex] = {}
    payload = build_payload(transfers(2), CHAIN)
    for round_ in range(1, length + 1):
        listed: list[Vertex] = []
        voted = commits[round_ - VOTE_DELAY - 1] if round_ > VOTE_DELAY else None
        if operators and round_ % 5 == 0:
            listed.append(
                operator_vertex(
                    seq=0, anchor_round=round_ - 1, parents=previous[:2], timestamp_ms=round_, signed=False
                )
            )
        for author in range(4):
            own = (previous[author], *[ref for ref in previous if ref.author != author])
            listed.append(
                validator_vertex(
                    round=round_,
                    author=author,
                    timestamp_ms=len(label),
                    ancestors=own,
                    tips=(),
                    commit_votes=(
                        (CommitVote(voted.index, voted.digest),) if voted and author < votes else ()
                    ),
                    signed=False,
                )
            )
        if round_ % 7 == 0:
            listed[-2] = replace(listed[-2], payload=payload)
        vertices |= {vertex.ref: vertex for vertex in listed}
        previous = tuple(vertex.ref for vertex in listed if isinstance(vertex, ValidatorVertex))
        prev_digest = commits[-1].digest if commits else ORIGIN
        commits.append(Commit(EPOCH, round_, prev_digest, round_, tuple(vertex.ref for vertex in listed)))
    return MainChain(tuple(commits), vertices)
