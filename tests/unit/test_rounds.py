import random

from engines import rules_of

from cherrydag.consensus.rounds import Rounds


def test_the_genesis_round_has_a_quorum() -> None:
    rounds = Rounds(rules_of([1, 1, 1, 1]).committee)
    assert rounds.has_quorum(0)
    assert not rounds.has_quorum(1)
    assert rounds.highest == 0


def test_a_round_has_a_quorum_from_two_thirds_of_stake_on() -> None:
    rounds = Rounds(rules_of([4, 3, 2, 1]).committee)  # 10 in all, 7 are a quorum
    rounds.note(5, 0)
    rounds.note(5, 2)
    assert (rounds.stake(5), rounds.has_quorum(5), rounds.highest) == (6, False, 0)
    rounds.note(5, 3)
    assert (rounds.stake(5), rounds.has_quorum(5), rounds.highest) == (7, True, 5)


def test_an_equivocator_counts_once() -> None:
    rounds = Rounds(rules_of([1, 1, 1, 1]).committee)
    for _ in range(3):
        rounds.note(2, 1)
    assert rounds.stake(2) == 1


def test_the_highest_does_not_sink_when_an_older_round_fills() -> None:
    rounds = Rounds(rules_of([1]).committee)
    rounds.note(9, 0)
    rounds.note(4, 0)
    assert rounds.highest == 9
    rounds.forget(20)
    assert rounds.highest == 9


def test_what_lies_at_or_below_gc_round_is_forgotten() -> None:
    rounds = Rounds(rules_of([1, 1, 1, 1]).committee)
    for number in range(1, 11):
        for author in range(4):
            rounds.note(number, author)
    rounds.forget(5)
    assert [rounds.stake(number) for number in (4, 5, 6)] == [0, 0, 4]
    assert not rounds.has_quorum(5)
    assert rounds.has_quorum(0)


def test_it_counts_as_sets_of_authors_do() -> None:
    rng = random.Random(1)
    stakes = [3, 1, 4, 1, 5, 9, 2]
    committee = rules_of(stakes).committee
    rounds = Rounds(committee)
    seen: dict[int, set[int]] = {}
    for _ in range(400):
        number, author = rng.randint(1, 40), rng.randrange(7)
        rounds.note(number, author)
        seen.setdefault(number, set()).add(author)
        assert rounds.stake(number) == sum(stakes[a] for a in seen[number])
        full = [r for r, authors in seen.items() if sum(stakes[a] for a in authors) >= committee.quorum]
        assert rounds.highest == max(full, default=0)
