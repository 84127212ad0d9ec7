"""Tip selection: which vertices without children a new vertex lists.

A tip is an uncommitted vertex without children. Lazy tips (anchored below the least tip round) and tips of
issuers above their quota are never selected. The uniform rule treats all tips alike; the fair rule shares
a validator's list among operators by bond (deficit round robin).
"""

from cherrydag._native import dagindex
from cherrydag.dag.graph import Graph, Handles
from cherrydag.errors import ShapeError
from cherrydag.primitives import Round


class TipSelector:
    """Selection over one graph. `rng` is the 64-bit state of a seeded generator; it moves with each
    uniform selection, so equal seeds and equal histories select alike.
    """

    __slots__ = ("_index", "rng")

    def __init__(self, graph: Graph, seed: int) -> None:
        if not 0 <= seed < 2**64:
            raise ShapeError(f"seed: must be 0..2^64-1, got {seed}")
        self._index = graph.index
        self.rng = seed

    def set_tip_round(self, round_: Round) -> None:
        """Tips of lower rounds are lazy from now on: own round minus the tip window. It may not sink."""
        self._index.set_tip_round(round_)

    def set_issuer(self, issuer: int, bond: int, quota: int) -> None:
        """An operator's bond (u64, in units of the fair share; 0: never selected by the fair rule) and how
        many uncommitted vertices it may have (u32) before all its tips are passed over."""
        self._index.set_issuer(issuer, bond, quota)

    def uniform(self, k: int, *, operators_only: bool = False) -> Handles:
        """Up to k (2..8) distinct tips, each with equal chance; fewer only if there are no more."""
        chosen, counts, self.rng = self._index.select_uniform(k, operators_only, self.rng, 1)
        return chosen[0, : counts[0]]

    def fair(self, k: int, tip_cost: int) -> Handles:
        """Up to k (2..8) distinct operators' tips, in shares of their issuers' bonds.

        Each visit gives an issuer its bond in credit and each tip costs tip_cost >= 1. Bonds count as at
        least a sixteenth of the cost and at most sixteen times it.
        """
        chosen, counts = self._index.select_fair(k, tip_cost, 1)
        return chosen[0, : counts[0]]

    def __len__(self) -> int:
        """Tips that may be selected; lazy ones that no selection has met yet still count."""
        return self._index.stats()[3]


SELECT_MIN = dagindex.SELECT_MIN
SELECT_MAX = dagindex.SELECT_MAX
