"""DAGs as text, for scenarios that people can read.

    Round 4 : { A -> [D3], B -> [*], C -> [-C3], D -> [], B' -> [A3, C3] }
    Round 5 : { * }

A round lists its vertices; `{ * }` is one of each author linking all of the round before. In a list, `*` is
every first vertex of the round before, `-C3` all of them but that one, and a name is that vertex, of any
earlier round. Authors are letters, A = 0; primes tell the vertices of one slot apart. Round 0 is the
genesis, one vertex of each author, and is not written. The rules on quorums of links are not applied: a
scenario says what is there.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple


class Vertex(NamedTuple):
    """One vertex: `variant` is 0, or counts the primes of an equivocation."""

    round: int
    author: int
    variant: int = 0

    def __str__(self) -> str:
        return f"{chr(ord('A') + self.author)}{self.round}{chr(39) * self.variant}"


@dataclass
class Dag:
    """Vertices and, in the order listed, the ancestors of each."""

    authors: int
    ancestors: dict[Vertex, tuple[Vertex, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for author in range(self.authors):
            self.ancestors.setdefault(Vertex(0, author), ())

    @property
    def highest_round(self) -> int:
        return max(vertex.round for vertex in self.ancestors)

    def at_round(self, number: int) -> list[Vertex]:
        return sorted(vertex for vertex in self.ancestors if vertex.round == number)

    def add(self, vertex: Vertex, ancestors: tuple[Vertex, ...]) -> None:
        assert vertex not in self.ancestors, f"{vertex} twice"
        for ancestor in ancestors:
            assert ancestor in self.ancestors, f"{vertex} links {ancestor}, which is not there"
            assert ancestor.round < vertex.round, f"{vertex} links {ancestor}"
        authors = [ancestor.author for ancestor in ancestors]
        assert len(set(authors)) == len(authors), f"{vertex} links one author twice"
        self.ancestors[vertex] = ancestors


_ROUND = re.compile(r"Round\s+(\d+)\s*:\s*\{(.*?)\}", re.DOTALL)
_VERTEX = re.compile(r"([A-Z])('*)\s*->\s*\[(.*?)\]", re.DOTALL)
_NAME = re.compile(r"(-?)([A-Z])(\d+)('*)$")


def parse(text: str, authors: int = 4) -> Dag:
    """The DAG that the text describes; rounds must be in order. AssertionError if it makes no sense."""
    dag = Dag(authors)
    rounds = [(int(number), body.strip()) for number, body in _ROUND.findall(text)]
    assert rounds, "no rounds"
    assert not _ROUND.sub("", text).strip(" \n,"), "something between the rounds"
    for number, body in rounds:
        assert number == dag.highest_round + 1, f"round {number} after {dag.highest_round}"
        if body == "*":
            for author in range(authors):
                dag.add(Vertex(number, author), _links("*", number, dag))
            continue
        assert not _VERTEX.sub("", body).strip(" \n,"), f"cannot read round {number}: {body}"
        for letter, primes, links in _VERTEX.findall(body):
            dag.add(Vertex(number, ord(letter) - ord("A"), len(primes)), _links(links, number, dag))
    return dag


def full(first: int, last: int) -> str:
    """Rounds in which everybody links everything."""
    return "\n".join(f"Round {number} : {{ * }}" for number in range(first, last + 1))


def _links(text: str, number: int, dag: Dag) -> tuple[Vertex, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    before = [vertex for vertex in dag.at_round(number - 1) if vertex.variant == 0]
    if words == ["*"]:
        return tuple(before)
    matched = [_NAME.match(word) for word in words]
    assert all(matched), f"cannot read links: {text}"
    named = [(m[1] == "-", Vertex(int(m[3]), ord(m[2]) - ord("A"), len(m[4]))) for m in matched if m]
    left_out = {vertex for minus, vertex in named if minus}
    assert left_out <= set(before), f"cannot leave out what is not there: {text}"
    kept = tuple(vertex for vertex in before if vertex not in left_out) if left_out else ()
    return kept + tuple(vertex for minus, vertex in named if not minus)
