"""The benches of the commit rule and the main chain, in the same registry as those of cases.py."""

import numpy as np

from cases import SEED, Prepared, case
from cherrydag.consensus.committer import Committer
from cherrydag.dag.graph import REF, Graph, Ref, Refs
from cherrydag.primitives import Digest, Round, ValidatorIndex


def full_rounds(rounds: int, validators: int) -> list[tuple[Ref, Refs]]:
    """Vertices in which everybody links everything of the round before, and those links."""
    rng = np.random.default_rng(SEED)
    refs = np.empty((rounds, validators), REF)
    refs["digest"] = rng.integers(0, 256, (rounds, validators, 32), dtype=np.uint8)
    refs["round"] = 1 + np.arange(rounds)[:, None]
    refs["author"] = np.arange(validators)
    genesis = np.zeros(validators, REF)
    genesis["author"] = np.arange(validators)
    return [
        (Ref(Round(r + 1), a, Digest(refs["digest"][r, a].tobytes())), refs[r - 1] if r else genesis)
        for r in range(rounds)
        for a in range(validators)
    ]


@case("committer.decide/n=100", "us/vertex", "the insertion alone, which is part of ours", n=100, rounds=20)
def committer_decide(n: int, rounds: int) -> Prepared:
    """Insert 20 rounds one vertex at a time and decide after each; what deciding costs is the difference."""
    vertices = full_rounds(rounds, n)

    def insert() -> Graph:
        graph = Graph([1] * n, bytes(16))
        for ref, parents in vertices:
            graph.insert(ref, parents)
        return graph

    def insert_and_decide() -> int:
        graph = Graph([1] * n, bytes(16))
        committer = Committer(graph, lambda round_: ValidatorIndex(round_ % n))
        last = 0
        for ref, parents in vertices:
            graph.insert(ref, parents)
            committer.note(ref.round)
            last += len(committer.decide(Round(last)))
        return last

    if len(insert()) != len(vertices) or insert_and_decide() != rounds - 2:
        raise AssertionError("not every round was decided")
    return Prepared(insert_and_decide, len(vertices), insert, len(vertices))
