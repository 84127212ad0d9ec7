"""Leaders of the rounds: a draw by stake, and the swap of those that performed worst (consensus.md, 5).

The leader of a round is a pure function of the committee, the round and a swap table. The table follows from
scores over committed vertices alone, so nodes with the same commits have the same leaders.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from struct import Struct

from cherrydag import crypto
from cherrydag.committee import Committee
from cherrydag.errors import ShapeError
from cherrydag.primitives import Round, ValidatorIndex

_DRAW_KEY = crypto.derive_key("cherrydag 2026-11-22 leader draw v1", b"")
_DRAW = Struct("<IIB")  # epoch, round, 0 for the draw among all or 1 for the draw among the best
_PERMILLE = 1000


@dataclass(frozen=True, slots=True)
class SwapTable:
    """Authors that do not lead for now, and those that lead in their place; both by rising index.

    An empty table swaps nobody.
    """

    worst: tuple[ValidatorIndex, ...] = ()
    best: tuple[ValidatorIndex, ...] = ()


def leader_of(committee: Committee, number: Round, swaps: SwapTable) -> ValidatorIndex:
    """The leader of a round: each validator in proportion to its stake, the worst replaced by the best.

    The draw is a keyed BLAKE3 of epoch and round, taken as an integer mod the stake; 256 bits over at most 63
    leave a bias below 2^-190.
    """
    everyone = range(len(committee))
    drawn = _draw(committee, number, everyone, 0)
    return _draw(committee, number, swaps.best, 1) if drawn in swaps.worst else drawn


def _draw(committee: Committee, number: Round, among: Sequence[int], which: int) -> ValidatorIndex:
    digest = crypto.hash_bytes(_DRAW.pack(committee.epoch, number, which), _DRAW_KEY)
    ends = list(accumulate(committee.members[index].stake for index in among))
    point = int.from_bytes(digest, "little") % ends[-1]
    return ValidatorIndex(among[bisect_right(ends, point)])


def swap_table(committee: Committee, scores: Sequence[int], share_permille: int) -> SwapTable:
    """The table that follows from scores, one for each member.

    The lowest-scored authors go out while their stake together is at most share_permille of the total, but
    nobody with the highest score; the highest-scored come in by the same measure, at least one. Ties go by
    index. share_permille: 0 .. 333, so that the two cannot overlap; 0 swaps nobody.
    Raises ShapeError for another share or number of scores.
    """
    if not 0 <= share_permille <= _PERMILLE // 3:
        raise ShapeError(f"share_permille: expected 0 to {_PERMILLE // 3}, got {share_permille}")
    if len(scores) != len(committee):
        raise ShapeError(f"scores: expected {len(committee)}, one for each member, got {len(scores)}")
    top = max(scores)
    rising = sorted(range(len(scores)), key=lambda index: (scores[index], index))
    budget = committee.total * share_permille // _PERMILLE
    worst = _within(committee, [index for index in rising if scores[index] < top], budget)
    if not worst:
        return SwapTable()
    best = _within(committee, rising[::-1], budget) or rising[-1:]
    return SwapTable(_ordered(worst), _ordered(best))


def _within(committee: Committee, order: Sequence[int], budget: int) -> list[int]:
    """The longest beginning of `order` whose stake is at most the budget."""
    taken: list[int] = []
    for index in order:
        budget -= committee.members[index].stake
        if budget < 0:
            break
        taken.append(index)
    return taken


def _ordered(indices: Iterable[int]) -> tuple[ValidatorIndex, ...]:
    return tuple(ValidatorIndex(index) for index in sorted(indices))
