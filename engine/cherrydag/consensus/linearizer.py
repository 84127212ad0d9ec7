"""From a committed leader to the next commit: its vertices in order, and the chain's time (consensus, 6)."""

from collections.abc import Iterable
from typing import NamedTuple, cast

from cherrydag.commit import Commit
from cherrydag.committee import Committee
from cherrydag.dag.graph import Handle, Handles
from cherrydag.dag.window import Window
from cherrydag.errors import ShapeError, invariant
from cherrydag.primitives import Digest, Stake, TimestampMs
from cherrydag.vertex import ValidatorVertex, Vertex

GENESIS_MS = TimestampMs(0)
"""Timestamp of the vertices of round 0, which are in no window."""


class Link(NamedTuple):
    """The end of the chain, as the next commit continues it; commit_index 0 is the epoch's origin."""

    commit_index: int
    digest: Digest
    timestamp_ms: TimestampMs


class Linearized(NamedTuple):
    """A commit with its vertices, and their handles, in its order."""

    commit: Commit
    vertices: tuple[Vertex, ...]
    handles: Handles


def linearize(window: Window, committee: Committee, previous: Link, leader: Handle) -> Linearized:
    """The commit of a leader's vertex: what is uncommitted in its past above gc_round, parents first.

    Ties go by a hash keyed with the leader's digest, so no author can choose its place. The window's gc_round
    must be the one that the previous commit set. Changes nothing.
    """
    vertex = cast(ValidatorVertex, window.vertex(leader))
    handles = window.graph.order(leader, vertex.digest)
    vertices = tuple(window.vertex(Handle(handle)) for handle in handles.tolist())
    commit = Commit(
        epoch=committee.epoch,
        index=previous.commit_index + 1,
        prev_digest=previous.digest,
        timestamp_ms=max(previous.timestamp_ms, leader_time(window, committee, vertex)),
        vertices=tuple(ordered.ref for ordered in vertices),
    )
    return Linearized(commit, vertices, handles)


def leader_time(window: Window, committee: Committee, leader: ValidatorVertex) -> TimestampMs:
    """Median by stake of the timestamps of the leader's strong ancestors; 0 for a leader of round 1."""
    if leader.round == 1:
        return GENESIS_MS
    timed: list[tuple[TimestampMs, Stake]] = []
    for ancestor in leader.ancestors:
        if ancestor.round != leader.round - 1:
            continue
        vertex = window.get(ancestor.digest)
        invariant(vertex is not None, "a leader's strong ancestors are above gc_round", ancestor=ancestor)
        stake = committee.members[ancestor.author].stake
        timed.append((cast(ValidatorVertex, vertex).timestamp_ms, stake))
    return weighted_median(timed)


def weighted_median(timed: Iterable[tuple[TimestampMs, Stake]]) -> TimestampMs:
    """The lowest timestamp such that more than half of all the stake is at it or below.

    As long as less than half of the stake lies, the result is between two honest timestamps (or is one): a
    leader's strong ancestors have a quorum, N - f, which is more than twice f. The higher of two middle
    values is taken. Raises ShapeError if there is no stake.
    """
    rising = sorted(timed)
    total = sum(stake for _, stake in rising)
    below = 0
    for timestamp_ms, stake in rising:
        below += stake
        if 2 * below > total:
            return timestamp_ms
    raise ShapeError("timed: expected stake, got none")
