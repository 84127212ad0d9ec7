"""Stake, thresholds and identity of a committee."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertices import COMMITTEE, committee_of

from cherrydag.committee import Committee, Member
from cherrydag.errors import ConfigError, ShapeError
from cherrydag.params import COMMITTEE_MAX, EPOCH_MAX, STAKE_TOTAL_MAX


def key(number: int) -> bytes:
    return number.to_bytes(32, "little")


def equal_stakes(n: int) -> Committee:
    return Committee(0, tuple(Member(key(i), 1) for i in range(n)))


@pytest.mark.parametrize(
    ("total", "faulty", "quorum"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 3), (5, 1, 4), (6, 1, 5), (7, 2, 5), (10, 3, 7), (100, 33, 67)],
)
def test_thresholds_follow_from_total_stake(total: int, faulty: int, quorum: int) -> None:
    committee = Committee(0, (Member(key(1), total),))
    assert (committee.total, committee.faulty, committee.quorum) == (total, faulty, quorum)
    assert committee.validity == faulty + 1


@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=20))
def test_two_quorums_share_more_than_the_faulty(stakes: list[int]) -> None:
    committee = Committee(0, tuple(Member(key(i), stake) for i, stake in enumerate(stakes)))
    assert 2 * committee.quorum - committee.total > committee.faulty
    assert committee.total - committee.faulty >= committee.quorum  # The honest alone are a quorum.
    assert committee.total > 3 * committee.faulty


def test_each_author_counts_once() -> None:
    committee = committee_of([5, 7, 11, 13])
    assert committee.stake_of([]) == 0
    assert committee.stake_of([1, 3, 1, 1]) == 20
    assert committee.stake_of(range(4)) == committee.total == 36


@pytest.mark.parametrize("author", [-1, 4])
def test_stake_of_refuses_an_author_outside_the_committee(author: int) -> None:
    with pytest.raises(ShapeError, match="author"):
        COMMITTEE.stake_of([0, author])


def test_digest_binds_epoch_order_keys_and_stakes() -> None:
    members = committee_of([1, 2, 3, 4]).members
    variants = [
        Committee(7, members),
        Committee(8, members),
        Committee(7, members[::-1]),
        Committee(7, members[:3]),
        Committee(7, (*members[:3], Member(members[3].public_key, 5))),
        Committee(7, (*members[:3], Member(key(9), 4))),
    ]
    assert len({committee.digest for committee in variants}) == len(variants)
    assert committee_of([1, 2, 3, 4]).digest == variants[0].digest


@pytest.mark.parametrize("n", [1, COMMITTEE_MAX - 1, COMMITTEE_MAX])
def test_sizes_within_the_limit(n: int) -> None:
    assert len(equal_stakes(n)) == n


@pytest.mark.parametrize("n", [0, COMMITTEE_MAX + 1])
def test_no_or_too_many_members_are_refused(n: int) -> None:
    with pytest.raises(ConfigError, match=r"committee\.members: expected 1 to 200"):
        equal_stakes(n)


@pytest.mark.parametrize("stake", [0, -1])
def test_a_stake_that_is_not_positive_is_refused(stake: int) -> None:
    with pytest.raises(ConfigError, match=r"members\[1\]: expected a stake"):
        Committee(0, (Member(key(1), 1), Member(key(2), stake)))


def test_a_key_listed_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"members\[2\]: the key is that of members\[0\]"):
        Committee(0, (Member(key(1), 1), Member(key(2), 1), Member(key(1), 1)))


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ConfigError, match="32 bytes, got 31"):
        Committee(0, (Member(key(1)[:31], 1),))


def test_total_stake_is_bounded() -> None:
    for total in (STAKE_TOTAL_MAX - 1, STAKE_TOTAL_MAX):
        assert Committee(0, (Member(key(1), total - 1), Member(key(2), 1))).total == total
    with pytest.raises(ConfigError, match="total stake"):
        Committee(0, (Member(key(1), STAKE_TOTAL_MAX), Member(key(2), 1)))


def test_epoch_is_bounded() -> None:
    assert Committee(EPOCH_MAX, (Member(key(1), 1),)).epoch == EPOCH_MAX
    for epoch in (-1, EPOCH_MAX + 1):
        with pytest.raises(ConfigError, match="epoch"):
            Committee(epoch, (Member(key(1), 1),))
