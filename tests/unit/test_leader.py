"""Leaders: drawn by stake, the same everywhere, and swapped by what they did."""

import itertools
import os
import random
import subprocess
import sys

import pytest
from reference.score_reference import CommittedVertex, score

from cherrydag.committee import Committee, Member
from cherrydag.consensus.leader import SwapTable, leader_of, swap_table
from cherrydag.errors import ShapeError
from cherrydag.primitives import Digest, Epoch, PublicKey, Round, Stake, ValidatorIndex
from cherrydag.refs import VertexRef

NOBODY = SwapTable()


def committee(*stakes: int, epoch: int = 0) -> Committee:
    members = [Member(PublicKey(bytes([i]) * 32), Stake(stake)) for i, stake in enumerate(stakes)]
    return Committee(Epoch(epoch), tuple(members))


def leaders(members: Committee, rounds: int, swaps: SwapTable = NOBODY) -> list[int]:
    return [leader_of(members, Round(number), swaps) for number in range(1, rounds + 1)]


def table(worst: tuple[int, ...], best: tuple[int, ...]) -> SwapTable:
    return SwapTable(tuple(map(ValidatorIndex, worst)), tuple(map(ValidatorIndex, best)))


def test_the_draw_is_pinned() -> None:
    """A change of these is a fork."""
    assert leaders(committee(1, 1, 1, 1), 16) == PINNED_EQUAL
    assert leaders(committee(5, 1, 9, 2, epoch=7), 16) == PINNED_UNEQUAL


def test_the_draw_does_not_depend_on_the_process() -> None:
    code = "from test_leader import *\nprint(leaders(committee(3, 1, 4, 1, 5), 50, table((1,), (2, 4))))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            cwd=__file__.rpartition("/")[0],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{leaders(committee(3, 1, 4, 1, 5), 50, table((1,), (2, 4)))}\n"}


def test_validators_lead_in_proportion_to_their_stake() -> None:
    """Chi-square over 6,000 rounds, 4 degrees of freedom: 18.5 is passed once in a thousand."""
    stakes = (1, 2, 3, 4, 10)
    drawn = leaders(committee(*stakes), 6000)
    expected = [6000 * stake / sum(stakes) for stake in stakes]
    deviation = sum((drawn.count(i) - e) ** 2 / e for i, e in enumerate(expected))
    assert deviation < 18.5


def test_epochs_draw_differently() -> None:
    assert leaders(committee(1, 1, 1, 1, epoch=1), 64) != leaders(committee(1, 1, 1, 1, epoch=2), 64)


def test_one_validator_leads_alone() -> None:
    assert leaders(committee(7), 20) == [0] * 20


def test_the_largest_stakes_draw() -> None:
    half = 2**62 - 1
    assert set(leaders(committee(half, half), 40)) == {0, 1}


def test_the_worst_hand_their_rounds_to_the_best_and_the_others_keep_theirs() -> None:
    members = committee(1, 1, 1, 1, 1, 1)
    before, after = leaders(members, 600), leaders(members, 600, table((1, 4), (0, 5)))
    for old, new in zip(before, after, strict=True):
        assert new == old if old not in (1, 4) else new in (0, 5)
    handed = [new for old, new in zip(before, after, strict=True) if old in (1, 4)]
    assert min(handed.count(0), handed.count(5)) > 60


def ref(number: int, author: int, variant: int = 0) -> VertexRef:
    return VertexRef(
        Round(number), ValidatorIndex(author), Digest(bytes([number, author, variant]) + bytes(29))
    )


def full_rounds(
    last: int, n: int = 4, without: tuple[tuple[VertexRef, VertexRef], ...] = ()
) -> list[CommittedVertex]:
    """Every vertex of rounds 1 .. last linking all before it, but for the (child, parent) pairs."""
    return [
        CommittedVertex(
            ref(number, author),
            tuple(
                ref(number - 1, a)
                for a in range(n)
                if (ref(number, author), ref(number - 1, a)) not in without
            ),
        )
        for number, author in itertools.product(range(1, last + 1), range(n))
    ]


def test_a_vote_scores_the_stake_of_those_that_link_it() -> None:
    members = committee(1, 2, 3, 4)
    assert score(members, [ref(1, 0)], full_rounds(3)) == [10, 10, 10, 10]
    missed = ((ref(2, 3), ref(1, 0)), (ref(3, 1), ref(2, 2)))  # D does not vote; B does not link C's vote
    assert score(members, [ref(1, 0)], full_rounds(3, without=missed)) == [10, 10, 8, 0]


def test_only_committed_leaders_and_their_votes_score() -> None:
    members = committee(1, 1, 1, 1)
    assert score(members, [], full_rounds(6)) == [0] * 4
    assert score(members, [ref(1, 0), ref(4, 2)], full_rounds(6)) == [8] * 4
    assert score(members, [ref(1, 0)], full_rounds(2)) == [0] * 4, "nobody has linked the votes yet"
    assert score(members, [ref(1, 0, variant=1)], full_rounds(3)) == [0] * 4, "another vertex of the slot"


def test_an_equivocating_linker_counts_once() -> None:
    members = committee(1, 1, 1, 1)
    twice = [*full_rounds(3), CommittedVertex(ref(3, 0, variant=1), tuple(ref(2, a) for a in range(4)))]
    assert score(members, [ref(1, 0)], twice) == [4] * 4


@pytest.mark.parametrize("votes", [True, False])
def test_an_equivocating_voter_gains_nothing(votes: bool) -> None:
    """Nor if one of its vertices alone is a vote: two of a slot are never more than one."""
    members = committee(1, 2, 3, 4)
    second = CommittedVertex(ref(2, 3, variant=1), tuple(ref(1, a) for a in range(not votes, 4)))
    linker = CommittedVertex(ref(3, 1, variant=1), (second.ref,))
    assert score(members, [ref(1, 0)], [*full_rounds(3), second, linker]) == [10, 10, 10, 0]


def test_scores_do_not_depend_on_the_order_of_vertices() -> None:
    members, vertices = committee(1, 2, 3, 4), full_rounds(9)
    led = [ref(number, number % 4) for number in range(1, 7)]
    expected = score(members, led, vertices)
    random.Random(1).shuffle(vertices)
    assert score(members, led[::-1], vertices) == expected


def test_the_lowest_go_out_and_the_highest_come_in() -> None:
    members = committee(1, 1, 1, 1, 1, 1, 1, 1, 1)
    scores = [5, 9, 1, 7, 3, 8, 2, 6, 4]
    assert swap_table(members, scores, 333) == table((2, 6), (1, 5))
    assert swap_table(members, scores, 112) == table((2,), (1,))
    assert swap_table(members, scores, 111) == NOBODY
    assert swap_table(members, scores, 0) == NOBODY


def test_equal_scores_swap_nobody_and_the_top_score_never_goes_out() -> None:
    members = committee(1, 1, 1, 1, 1, 1)
    assert swap_table(members, [4] * 6, 333) == NOBODY  # room for one
    assert swap_table(members, [4, 4, 4, 3, 4, 4], 333) == table((3,), (5,))


def test_ties_go_by_index() -> None:
    assert swap_table(committee(1, 1, 1, 1, 1, 1), [2, 2, 9, 2, 9, 9], 200) == table((0,), (5,))


def test_stakes_count_against_the_share() -> None:
    """A heavy author that performs worst stays if the share has no room for it; so does all behind it."""
    assert swap_table(committee(40, 1, 1, 58), [0, 1, 2, 3], 333) == NOBODY
    assert swap_table(committee(1, 40, 1, 58), [0, 1, 2, 3], 333) == table((0,), (3,))


@pytest.mark.parametrize("seed", range(40))
def test_worst_and_best_never_overlap_and_keep_to_the_share(seed: int) -> None:
    rng = random.Random(seed)
    members = committee(*(rng.randrange(1, 30) for _ in range(rng.randrange(1, 40))))
    share = rng.randrange(334)
    swaps = swap_table(members, [rng.randrange(6) for _ in members.members], share)
    assert not set(swaps.worst) & set(swaps.best)
    assert bool(swaps.worst) == bool(swaps.best)
    assert members.stake_of(swaps.worst) * 1000 <= members.total * share
    assert list(swaps.worst) == sorted(swaps.worst)
    assert list(swaps.best) == sorted(swaps.best)


@pytest.mark.parametrize(("scores", "share"), [([1, 2], 100), ([1, 2, 3], 334), ([1, 2, 3], -1)])
def test_wrong_arguments_are_named(scores: list[int], share: int) -> None:
    with pytest.raises(ShapeError, match=r"scores: expected 3|share_permille: expected 0 to 333"):
        swap_table(committee(1, 1, 1), scores, share)


PINNED_EQUAL = [0, 2, 0, 3, 3, 1, 0, 0, 2, 0, 0, 3, 3, 0, 1, 3]
PINNED_UNEQUAL = [2, 0, 2, 2, 2, 0, 2, 2, 0, 2, 2, 0, 0, 1, 0, 0]
