"""The commit rule: which leaders' vertices commit and which slots are skipped (consensus, 4).

Every round r has a leader; its slot is voted on by round r + 1 and decided by round r + 2. A slot that its
own wave leaves open is decided by an anchor, the first leader after the wave that is not skipped.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from cherrydag.dag.graph import Graph, Handle
from cherrydag.errors import invariant
from cherrydag.primitives import Round, ValidatorIndex

WAVE: Final = 3
"""Rounds that decide a slot on their own: its leader's, the votes', the certificates'."""


class Decision(NamedTuple):
    """What became of a round's slot, for ever; `handle` is the committed vertex, None if it is skipped."""

    round: Round
    leader: ValidatorIndex
    handle: Handle | None


class Committer:
    """Decides the slots of one graph, anew only where something came in.

    leader_of: the leader of a round above 0; an answer holds until `forget`. Vertices that are in the graph
    already need no note. Not for threads.
    """

    __slots__ = ("_changed", "_decided", "_graph", "_highest", "_last", "_leader_of")

    def __init__(self, graph: Graph, leader_of: Callable[[Round], ValidatorIndex]) -> None:
        self._graph = graph
        self._leader_of = leader_of
        self._highest = graph.highest_round
        self._last: Round | None = None
        self._decided: dict[Round, Decision] = {}
        self._changed: dict[Round, None] = {}

    def note(self, round_: Round) -> None:
        """A validator's vertex of this round has entered the graph. O(1)."""
        if round_ > self._highest:
            self._highest = round_
        for distance in range(1, WAVE):
            self._changed[Round(round_ - distance)] = None

    def decide(self, last: Round) -> list[Decision]:
        """The longest run of decided slots after round `last`, skips too.

        A function of the graph and the leaders alone, whatever came in when. `last` is at or above gc_round;
        it should only rise, since slots up to it are forgotten and would be decided anew.
        """
        if last != self._last:
            self._start_after(last)
        if self._changed:
            self._decide_changed(last)
        decisions: list[Decision] = []
        following = last + 1
        while (decision := self._decided.get(Round(following))) is not None:
            decisions.append(decision)
            following += 1
        return decisions

    @property
    def ahead(self) -> int:
        """How many slots commit as soon as the open ones below them are decided. O(rounds after `last`)."""
        return sum(decision.handle is not None for decision in self._decided.values())

    def forget(self) -> None:
        """Leaders have changed: every slot is decided anew."""
        self._last = None

    def _start_after(self, last: Round) -> None:
        gc_round = self._graph.gc_round
        invariant(last >= gc_round, "undecided slots lie above gc_round", last=last, gc_round=gc_round)
        if self._last is None or last < self._last:
            self._decided.clear()
            self._changed = {Round(number): None for number in range(last + 1, self._highest + 1)}
        else:
            for number in range(self._last + 1, last + 1):
                self._decided.pop(Round(number), None)
        self._last = last

    def _decide_changed(self, last: Round) -> None:
        # A slot above `top` changes again when the first vertex of its decision round comes.
        top = self._highest - (WAVE - 1)
        found = False
        for number in self._changed:
            if last < number <= top and number not in self._decided:
                decision = decide_directly(self._graph, number, self._leader_of(number))
                if decision is not None:
                    self._decided[number] = decision
                    found = True
        self._changed.clear()
        if found:
            self._decide_by_anchors(last, top)

    def _decide_by_anchors(self, last: Round, top: int) -> None:
        """Downwards, so that a slot which an anchor decides is the anchor of lower ones in the same pass."""
        anchor: Handle | None = None
        for at in range(top - WAVE, last, -1):
            number = Round(at)
            later = self._decided.get(Round(at + WAVE))
            if later is None:
                anchor = None  # it may yet commit and be the anchor, so nobody may look past it
            elif later.handle is not None:
                anchor = later.handle
            if anchor is not None and number not in self._decided:
                self._decided[number] = decide_by_anchor(self._graph, number, self._leader_of(number), anchor)


def decide_directly(graph: Graph, round_: Round, leader: ValidatorIndex) -> Decision | None:
    """The verdict of the slot's own wave, None if it leaves the slot open.

    A quorum of blames skips; a quorum of certificates for one of its vertices commits that.
    """
    if graph.blames(round_, leader).stake >= graph.quorum:
        return Decision(round_, leader, None)
    committed = [
        handle for handle in _slot(graph, round_, leader) if graph.certificates(handle).stake >= graph.quorum
    ]
    invariant(
        len(committed) <= 1,
        "one vertex of a slot commits: faulty stake is within f",
        round=round_,
        leader=leader,
    )
    return Decision(round_, leader, committed[0]) if committed else None


def decide_by_anchor(graph: Graph, round_: Round, leader: ValidatorIndex, anchor: Handle) -> Decision:
    """The verdict of the first later leader's vertex that commits: a certificate in its past, or a skip."""
    certified = [handle for handle in _slot(graph, round_, leader) if graph.certified_in_past(anchor, handle)]
    invariant(
        len(certified) <= 1,
        "one vertex of a slot is certified: faulty stake is within f",
        round=round_,
        leader=leader,
    )
    return Decision(round_, leader, certified[0] if certified else None)


def _slot(graph: Graph, round_: Round, leader: ValidatorIndex) -> list[Handle]:
    return [Handle(handle) for handle in graph.slot(round_, leader).tolist()]
