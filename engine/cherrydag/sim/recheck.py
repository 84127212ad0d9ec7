"""I8: a chain made anew from all vertices, in another causal order and other batches, is the same chain."""

from collections.abc import Iterable

from cherrydag.committee import Committee
from cherrydag.consensus.main_chain import ChainParams, MainChain
from cherrydag.dag.graph import Limits, Outcome
from cherrydag.dag.window import Window
from cherrydag.primitives import Digest
from cherrydag.sim.chance import Chance
from cherrydag.sim.violation import must
from cherrydag.vertex import ValidatorVertex, Vertex

_LIMITS = Limits(rounds=1024, vertices=1 << 16, blocks=1 << 18, issuers=1 << 10)


def recompute(
    vertices: Iterable[Vertex], committee: Committee, origin: Digest, params: ChainParams, chance: Chance
) -> list[Digest]:
    """Digests of the commits that a fresh main chain makes of these vertices, fed in a drawn causal order.

    The order is a shuffle within windows of rounds; what comes before its parents is put back. After the
    insertion of a few vertices, a drawn number, the chain is extended.
    """
    window = Window([member.stake for member in committee.members], bytes(16), _LIMITS)
    chain = MainChain(committee, origin, window, params)
    digests: list[Digest] = []
    waiting: list[Vertex] = []
    for vertex in _shuffled(vertices, chance):
        waiting.append(vertex)
        if chance.is_hit(200):
            waiting = _insert_all(waiting, window, chain)
            digests += [extension.sub_dag.commit.digest for extension in chain.extend()]
    while True:
        left = _insert_all(waiting, window, chain)
        digests += [extension.sub_dag.commit.digest for extension in chain.extend()]
        if len(left) == len(waiting):
            return digests
        waiting = left


def check_recomputed(agreed: list[Digest], found: list[Digest]) -> None:
    """One list begins with the other."""
    both = min(len(agreed), len(found))
    for at in range(both):
        facts = {"index": at + 1, "agreed": agreed[at], "found": found[at]}
        must(agreed[at] == found[at], "I8", "deciding the full DAG gives the same commits", **facts)
    facts = {"agreed": len(agreed), "found": len(found)}
    must(len(found) >= len(agreed), "I8", "deciding the full DAG gives all the commits", **facts)


def _shuffled(vertices: Iterable[Vertex], chance: Chance) -> list[Vertex]:
    """Each vertex moves up to a few rounds ahead or back."""
    keyed = []
    for number, vertex in enumerate(vertices):
        round_ = vertex.round if isinstance(vertex, ValidatorVertex) else vertex.anchor_round
        keyed.append((round_ * 1000 + chance.below(3000), number, vertex))
    keyed.sort(key=lambda item: item[:2])
    return [vertex for _, _, vertex in keyed]


def _insert_all(waiting: list[Vertex], window: Window, chain: MainChain) -> list[Vertex]:
    """Insert what can be; what misses a parent comes back."""
    while True:
        left: list[Vertex] = []
        for vertex in waiting:
            outcome = window.insert(vertex).outcome
            if outcome is Outcome.MISSING:
                left.append(vertex)
            elif outcome is Outcome.INSERTED and isinstance(vertex, ValidatorVertex):
                chain.note(vertex)
        if len(left) == len(waiting) or not left:
            return left
        waiting = left
