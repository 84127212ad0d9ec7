"""What a node reads from its store when it starts (consensus.md, 7)."""

from typing import NamedTuple

from cherrydag.commit import Commit
from cherrydag.consensus.effects import SubDag, SwapRecord
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.ports import Store
from cherrydag.errors import invariant
from cherrydag.params import COMMIT_SYNC_BATCH
from cherrydag.primitives import Round
from cherrydag.vertex import Vertex


class Recovered(NamedTuple):
    """Where the log leaves off.

    last: the last commit, None before the first. swaps: the newest record. period: the sub-DAGs since that
    record. unexecuted: those to execute again. held: the last commit, back to the first whose leader is at
    or below gc_round or to index 1. vertices: those above gc_round, parents first.
    """

    last: Commit | None
    swaps: SwapRecord | None
    period: tuple[SubDag, ...]
    unexecuted: tuple[SubDag, ...]
    held: tuple[Commit, ...]
    vertices: tuple[Vertex, ...]


def load(store: Store, params: ChainParams, executed_index: int) -> Recovered:
    """Read it. executed_index: of the last commit whose effects are durable."""
    last = store.last_commit()
    if last is None:
        return Recovered(None, None, (), (), (), tuple(store.vertices_above(Round(0))))
    swaps = store.swaps()
    gc_round = params.gc_round(last.leader.round)
    return Recovered(
        last,
        swaps,
        tuple(_sub_dags(store, (swaps.commit_index if swaps else 0) + 1, last.index)),
        tuple(_sub_dags(store, executed_index + 1, last.index)),
        tuple(_back_to(store, gc_round, last)),
        tuple(store.vertices_above(gc_round)),
    )


def _sub_dags(store: Store, first: int, last: int) -> list[SubDag]:
    found = []
    for commit in store.commits(first, last):
        vertices = store.vertices(commit.vertices)
        whole = tuple(vertex for vertex in vertices if vertex is not None)
        invariant(len(whole) == len(vertices), "a stored commit has its vertices", index=commit.index)
        found.append(SubDag(commit, whole))
    return found


def _back_to(store: Store, gc_round: Round, last: Commit) -> list[Commit]:
    commits = [last]
    while commits[0].index > 1 and commits[0].leader.round > gc_round:
        first = commits[0].index
        older = store.commits(max(1, first - COMMIT_SYNC_BATCH), first - 1)
        invariant(len(older) > 0, "the log goes back to gc_round", index=first, gc_round=gc_round)
        commits = [*older, *commits]
    return commits
