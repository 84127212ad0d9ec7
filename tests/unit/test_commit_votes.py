import random

import pytest
from engines import Forge, rules_of
from vertices import digest

from cherrydag.commit import CommitVote
from cherrydag.consensus.commit_votes import CommitVotes


def vote(forge: Forge, author: int, *indices: int) -> object:
    return forge.first(author, commit_votes=tuple(CommitVote(index, digest(index)) for index in indices))


def test_committed_is_what_validity_stake_has_voted_for() -> None:
    """f + 1 is 2 of four: each vote makes the second highest the committed one."""
    forge = Forge()
    votes = CommitVotes(forge.rules.committee)
    for author, indices, committed in ((0, (1, 2, 3), 0), (1, (5,), 3), (2, (2,), 3), (3, (4,), 4)):
        votes.note(vote(forge, author, *indices))
        assert votes.committed_index == committed
    assert [votes.highest(author) for author in range(4)] == [3, 5, 2, 4]


@pytest.mark.parametrize(
    ("stakes", "voters", "committed"),
    [
        ([3, 3, 2, 2], [0], 0),
        ([4, 2, 2, 2], [0], 9),
        ([5, 2, 2, 1], [0], 9),
        ([2, 1, 4, 3], [0, 1], 0),
        ([2, 2, 3, 3], [0, 1], 9),
        ([2, 3, 3, 2], [0, 1], 9),
    ],
)
def test_votes_count_by_stake(stakes: list[int], voters: list[int], committed: int) -> None:
    """Of ten, f + 1 is 4: once one voter, once two have 3, 4 and 5."""
    forge = Forge(rules_of(stakes))
    votes = CommitVotes(forge.rules.committee)
    for author in voters:
        votes.note(vote(forge, author, 9))
    assert votes.committed_index == committed


def test_a_lone_laggard_learns_how_far_the_others_are_though_the_faulty_never_vote() -> None:
    """Four of seven are ahead: a quorum, five, would hold the laggard itself."""
    forge = Forge(rules_of([1] * 7))
    committee = forge.rules.committee
    votes = CommitVotes(committee)
    laggard, ahead, _faulty = 0, (1, 2, 3, 4), (5, 6)
    assert committee.stake_of(ahead) < committee.quorum
    votes.note(vote(forge, laggard, 1))
    committed = []
    for author in ahead:
        votes.note(vote(forge, author, 100 + author))
        committed.append(votes.committed_index)
    assert committed == [0, 1, 101, 102]


def test_a_vertex_without_votes_says_nothing() -> None:
    forge = Forge()
    votes = CommitVotes(forge.rules.committee)
    votes.note(forge.first(0))
    assert votes.highest(0) == 0


def test_one_author_counts_once_and_never_sinks() -> None:
    forge = Forge()
    votes = CommitVotes(forge.rules.committee)
    for index in (7, 9, 8):
        votes.note(vote(forge, 0, index))
    assert (votes.highest(0), votes.committed_index) == (9, 0)
    for index, committed in ((8, 8), (7, 8), (9, 9)):
        votes.note(vote(forge, 3, index))
        assert (votes.highest(3), votes.committed_index) == (committed, committed)


def test_liars_about_the_future_move_nothing_beyond_what_an_honest_validator_says() -> None:
    forge = Forge(rules_of([1] * 7))
    votes = CommitVotes(forge.rules.committee)
    for liar in (5, 6):
        votes.note(vote(forge, liar, 2**64 - 1))
    assert votes.committed_index == 0
    for author, index in ((0, 10), (1, 9), (2, 12)):
        votes.note(vote(forge, author, index))
        assert votes.committed_index == max(10, index)


@pytest.mark.parametrize("stakes", [[1], [1, 1, 1, 1], [5, 1, 1, 1, 3], [2, 3, 4, 5, 6, 7, 8]])
def test_it_is_the_highest_index_with_validity_stake_at_or_above_it(stakes: list[int]) -> None:
    forge = Forge(rules_of(stakes))
    committee = forge.rules.committee
    rng = random.Random(len(stakes))
    votes = CommitVotes(committee)
    highest = [0] * len(stakes)
    for _ in range(300):
        author = rng.randrange(len(stakes))
        index = highest[author] + rng.randint(-2, 4)
        if index < 1:
            continue
        votes.note(vote(forge, author, index))
        highest[author] = max(highest[author], index)
        pairs = list(zip(stakes, highest, strict=True))
        reached = [i for i in {0, *highest} if sum(s for s, h in pairs if h >= i) >= committee.validity]
        assert votes.committed_index == max(reached)
