import pytest
from engines import FOUR, Forge, MockSigner, rules_of
from vertices import CHAIN, EPOCH, digest

from cherrydag.commit import Checkpoint, CheckpointCertificate, CheckpointSignature, CheckpointVote
from cherrydag.consensus.checkpoints import KEPT_MAX, Checkpoints
from cherrydag.vertex import ValidatorVertex

FORGE = Forge()


def checkpoint_of(index: int, state: object = "state") -> Checkpoint:
    return Checkpoint(CHAIN.genesis_digest, EPOCH, index, digest("commit", index), digest(state, index))


def vote(author: int, index: int, state: object = "state", forge: Forge = FORGE) -> ValidatorVertex:
    signed = checkpoint_of(index, state)
    signature = MockSigner(author).sign(signed.signing_digest(CHAIN))
    return forge.first(
        author, checkpoint=CheckpointVote(index, signed.commit_digest, signed.state_root, signature)
    )


def certificate(index: int, authors: list[int], state: object = "state") -> CheckpointCertificate:
    signatures = [CheckpointSignature(a, vote(a, index, state).checkpoint.signature) for a in authors]
    return CheckpointCertificate(checkpoint_of(index, state), tuple(signatures))


def test_a_quorum_of_equal_votes_is_a_certificate() -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    assert checkpoints.note(vote(3, 10)) is None
    assert checkpoints.note(vote(0, 10)) is None
    assert checkpoints.note(FORGE.first(1)) is None
    assert checkpoints.note(vote(1, 10)) == certificate(10, [0, 1, 3])
    assert checkpoints.certified == certificate(10, [0, 1, 3])


def test_votes_count_by_stake_and_an_author_once() -> None:
    rules = rules_of([4, 3, 2, 1])
    forge = Forge(rules)
    checkpoints = Checkpoints(CHAIN, rules.committee)
    for _ in range(3):
        assert checkpoints.note(vote(0, 10, forge=forge)) is None
    assert checkpoints.note(vote(2, 10, forge=forge)) is None
    assert checkpoints.note(vote(3, 10, forge=forge)) == certificate(10, [0, 2, 3])


@pytest.mark.parametrize("other", [("other", 10), ("state", 11)])
def test_votes_for_different_states_do_not_add_up(other: tuple[str, int]) -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    checkpoints.note(vote(0, 10))
    checkpoints.note(vote(1, 10))
    assert checkpoints.note(vote(2, other[1], other[0])) is None
    assert checkpoints.note(vote(3, 10)) == certificate(10, [0, 1, 3])


def test_a_certificate_is_told_once_and_only_of_a_higher_index() -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    for author in range(3):
        checkpoints.note(vote(author, 20))
    assert [checkpoints.note(vote(author, 20)) for author in range(4)] == [None] * 4
    for author in range(4):
        assert checkpoints.note(vote(author, 10)) is None
    assert checkpoints.certified == certificate(20, [0, 1, 2])
    told = [checkpoints.note(vote(author, 30)) for author in range(4)]
    assert told == [None, None, certificate(30, [0, 1, 2]), None]


def test_who_votes_far_ahead_pushes_out_his_own_votes_alone() -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    for index in range(1000, 1000 + 3 * KEPT_MAX):
        checkpoints.note(vote(3, index))
    checkpoints.note(vote(0, 10))
    checkpoints.note(vote(1, 10))
    assert checkpoints.note(vote(3, 10)) == certificate(10, [0, 1, 3])


def test_the_lowest_of_an_authors_votes_are_kept() -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    for index in range(1, KEPT_MAX + 2):
        checkpoints.note(vote(0, index))
    for index, expected in ((KEPT_MAX, True), (KEPT_MAX + 1, False)):
        told = [checkpoints.note(vote(author, index)) for author in (1, 2)]
        assert (told[-1] is not None) == expected


def test_the_last_vote_of_an_author_for_an_index_counts() -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    checkpoints.note(vote(0, 10, "other"))
    checkpoints.note(vote(0, 10))
    checkpoints.note(vote(1, 10))
    assert checkpoints.note(vote(2, 10)) == certificate(10, [0, 1, 2])


# Our own


def test_our_signature_of_the_state_is_due_once() -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    assert checkpoints.take_due() is None
    checkpoints.on_executed(10, digest("commit", 10), digest("state", 10), MockSigner(2))
    assert checkpoints.take_due() == vote(2, 10).checkpoint
    assert checkpoints.take_due() is None


def test_who_does_not_vote_signs_nothing_but_compares() -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    checkpoints.on_executed(10, digest("commit", 10), digest("bad", 10), None)
    assert checkpoints.take_due() is None
    for author in range(3):
        checkpoints.note(vote(author, 10))
    assert checkpoints.has_diverged() == 10


@pytest.mark.parametrize("executed_first", [True, False])
def test_a_certified_state_that_is_not_ours_is_a_divergence(executed_first: bool) -> None:
    for state, diverged in (("state", None), ("bad", 10)):
        checkpoints = Checkpoints(CHAIN, FOUR.committee)
        assert checkpoints.has_diverged() is None
        if executed_first:
            checkpoints.on_executed(10, digest("commit", 10), digest(state, 10), None)
            assert checkpoints.has_diverged() is None
        for author in range(3):
            checkpoints.note(vote(author, 10))
        if not executed_first:
            assert checkpoints.has_diverged() is None
            checkpoints.on_executed(10, digest("commit", 10), digest(state, 10), None)
        assert checkpoints.has_diverged() == diverged


def test_a_minority_that_signs_another_state_proves_nothing() -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    checkpoints.on_executed(10, digest("commit", 10), digest("state", 10), None)
    for author in (2, 3):
        checkpoints.note(vote(author, 10, "bad"))
    assert checkpoints.has_diverged() is None


def test_so_many_of_our_own_are_kept() -> None:
    checkpoints = Checkpoints(CHAIN, FOUR.committee)
    for index in range(1, KEPT_MAX + 3):
        checkpoints.on_executed(index, digest("commit", index), digest("state", index), None)
    assert sorted(checkpoints.own) == list(range(3, KEPT_MAX + 3))
