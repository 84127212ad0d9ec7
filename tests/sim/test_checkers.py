"""Each checker is shown a history that breaks its invariant, and must say so; and one that does not."""

from dataclasses import replace

import pytest
from vertices import COMMITTEE, GENESIS, checkpoint, commit, digest, operator_vertex, refs, validator_vertex

from cherrydag.commit import Commit, CommitVote
from cherrydag.consensus.effects import Persist, SubDag, SwapRecord
from cherrydag.consensus.leader import SwapTable
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.refs import VertexRef
from cherrydag.sim.chain_checks import Agreement, Closure
from cherrydag.sim.chance import Chance
from cherrydag.sim.recheck import check_recomputed, recompute
from cherrydag.sim.vertex_checks import Certificates, Durability, Slots, Submissions, check_tables
from cherrydag.sim.violation import ViolationError

ORIGIN = digest("origin")
PARAMS = ChainParams(gc_depth=3)


def broken(invariant: str) -> "pytest.RaisesExc[ViolationError]":
    """The violation of this invariant, and no other."""
    return pytest.raises(ViolationError, match=f"^{invariant}: ")


def chain_of(rounds: list[int], prev: bytes = ORIGIN, first: int = 1, time_ms: int = 1000) -> list[Commit]:
    commits = []
    for index, round_ in enumerate(rounds, first):
        commits.append(
            commit(index=index, prev_digest=prev, timestamp_ms=time_ms + index, vertices=refs(round_, "0"))
        )
        prev = commits[-1].digest
    return commits


def agreement(rounds: list[int]) -> tuple[Agreement, list[Commit]]:
    """What node 0 has made."""
    checker, commits = Agreement(ORIGIN, PARAMS), chain_of(rounds)
    for made in commits:
        checker.commit(0, made)
    return checker, commits


def test_equal_chains_agree_over_a_restart() -> None:
    checker, commits = agreement([1, 2, 4])
    for made in commits:
        checker.commit(1, made)
    checker.start(1, 2)
    checker.commit(1, commits[2])
    assert checker.height == 3
    assert checker.tail(1) == 3


def test_i1_other_digest_at_an_index() -> None:
    checker, commits = agreement([1, 2])
    checker.commit(1, commits[0])
    with broken("I1"):
        checker.commit(1, replace(commits[1], timestamp_ms=commits[1].timestamp_ms + 1))


def test_i1_gap() -> None:
    checker, commits = agreement([1, 2])
    with broken("I1"):
        checker.commit(1, commits[1])


def test_i1_commit_that_is_not_chained() -> None:
    checker, _ = agreement([1])
    with broken("I1"):
        checker.commit(0, chain_of([2], first=2, prev=digest("other"))[0])


def test_i2_skipped_slot_that_commits_elsewhere() -> None:
    checker, commits = agreement([1, 3])
    checker.commit(1, commits[0])
    with broken("I2"):
        checker.commit(1, chain_of([2], first=2, prev=commits[0].digest)[0])


def test_i6_leader_round_that_does_not_rise() -> None:
    checker, commits = agreement([2])
    with broken("I6"):
        checker.commit(0, chain_of([2], first=2, prev=commits[0].digest)[0])


def test_i6_time_that_falls() -> None:
    checker, commits = agreement([1])
    with broken("I6"):
        checker.commit(0, chain_of([2], first=2, prev=commits[0].digest, time_ms=0)[0])


def test_i7_vertex_at_gc_round() -> None:
    checker, commits = agreement([9])
    low = commit(index=2, prev_digest=commits[0].digest, vertices=(*refs(6, "1"), *refs(10, "0")))
    with broken("I7"):
        checker.commit(0, low)
    good = commit(index=2, prev_digest=commits[0].digest, vertices=(*refs(7, "1"), *refs(10, "0")))
    agreement([9])[0].commit(0, good)


def test_i9_vote_for_another_commit() -> None:
    checker, commits = agreement([1])
    checker.votes(1, [CommitVote(1, commits[0].digest)])
    with broken("I9"):
        checker.votes(1, [CommitVote(1, digest("other"))])
    with broken("I9"):
        checker.votes(1, [CommitVote(2, commits[0].digest)])


def test_i10_other_swap_table() -> None:
    checker, _ = agreement([1])
    checker.swap(0, SwapRecord(1, SwapTable((0,), (1,))))
    checker.swap(1, SwapRecord(1, SwapTable((0,), (1,))))
    with broken("I10"):
        checker.swap(2, SwapRecord(1, SwapTable((0,), (2,))))


def test_i15_other_state_root() -> None:
    checker, _ = agreement([1])
    checker.root(0, 1, checkpoint().state_root)
    with broken("I15"):
        checker.root(1, 1, digest("other"))


def test_table_in_force_is_that_of_the_last_record_below() -> None:
    checker, _ = agreement([1, 4])
    table = SwapTable((0,), (1,))
    checker.swap(0, SwapRecord(2, table))
    assert checker.table_at(4) == SwapTable()
    assert checker.table_at(5) == table


def sub_dag(*vertices: object, index: int = 1) -> SubDag:
    made = commit(index=index, prev_digest=ORIGIN, vertices=tuple(vertex.ref for vertex in vertices))  # type: ignore[attr-defined]
    return SubDag(made, vertices)  # type: ignore[arg-type]


FIRST = [
    validator_vertex(round=1, author=a, ancestors=refs(0), tips=(), commit_votes=(), signed=False)
    for a in range(4)
]
SECOND = validator_vertex(
    round=2, ancestors=tuple(v.ref for v in FIRST), tips=(), commit_votes=(), signed=False
)


def test_i5_missing_parent_and_repeated_vertex() -> None:
    Closure(PARAMS).execute(0, sub_dag(*FIRST, SECOND))
    with broken("I5"):
        Closure(PARAMS).execute(0, sub_dag(*FIRST[1:], SECOND))
    twice = Closure(PARAMS)
    twice.execute(0, sub_dag(*FIRST))
    with broken("I5"):
        twice.execute(0, sub_dag(FIRST[0], SECOND, index=2))


def test_i5_other_vertices_than_the_commits() -> None:
    made = sub_dag(*FIRST, SECOND)
    with broken("I5"):
        Closure(PARAMS).execute(0, SubDag(made.commit, made.vertices[::-1]))


def test_i4_second_vertex_of_a_slot_or_seq() -> None:
    slots = Slots()
    slots.made(FIRST[0])
    slots.made(FIRST[0])
    with broken("I4"):
        slots.made(replace(FIRST[0], timestamp_ms=1))
    slots.made(operator_vertex(signed=False))
    with broken("I4"):
        slots.made(operator_vertex(signed=False, timestamp_ms=1))


def certified_fork(voters_of_both: int) -> Certificates:
    """Author 0 equivocates in round 1; of round 2, `voters_of_both` authors vote once for each."""
    fork = [FIRST[0], replace(FIRST[0], timestamp_ms=1)]
    checker = Certificates(COMMITTEE)
    for vertex in (*fork, *FIRST[1:]):
        checker.note(vertex)
    for side in (0, 1):
        rest = tuple(vertex.ref for vertex in FIRST[1:])
        votes = [
            validator_vertex(
                round=2, author=a, ancestors=(fork[side].ref, *rest), tips=(), commit_votes=(), signed=False
            )
            for a in range(4)
            if side == 0 or a < voters_of_both
        ]
        for vote in votes:
            checker.note(vote)
        third = validator_vertex(
            round=3,
            author=side,
            ancestors=tuple(v.ref for v in votes),
            tips=(),
            commit_votes=(),
            signed=False,
        )
        checker.note(third)
    return checker


def test_i3_two_certified_vertices_of_a_slot() -> None:
    certified_fork(2).check()
    with broken("I3"):
        certified_fork(3).check()


def write(*vertices: object, commits: tuple[Commit, ...] = ()) -> Persist:
    return Persist(1, vertices, commits, ())  # type: ignore[arg-type]


def test_i14_vertex_parent_or_commit_that_is_not_durable() -> None:
    checker = Durability()
    checker.durable(0, write(*FIRST, SECOND))
    checker.sent(0, SECOND, 0)
    with broken("I14"):
        checker.sent(1, SECOND, 0)
    checker.durable(1, write(SECOND))
    with broken("I14"):
        checker.sent(1, SECOND, 0)
    checker.sent(1, SECOND, 1)
    voting = replace(SECOND, commit_votes=(CommitVote(1, digest(1)),))
    checker.durable(0, write(voting))
    with broken("I14"):
        checker.sent(0, voting, 0)
    checker.durable(0, write(commits=(commit(index=1),)))
    checker.sent(0, voting, 0)


def test_i14_what_a_crash_lost_is_not_durable() -> None:
    checker = Durability()
    checker.durable(0, write(*FIRST, SECOND))
    checker.start(0, FIRST, 0)
    with broken("I14"):
        checker.sent(0, SECOND, 0)


def test_i12_submission_that_is_neither_sequenced_nor_dropped() -> None:
    checker = Submissions()
    checker.submitted(0, FIRST[0])
    checker.submitted(0, FIRST[1])
    checker.submitted(0, SECOND)
    checker.check(0, 0)
    checker.settled(0, [FIRST[0]], sequenced=True)
    checker.settled(0, [SECOND], sequenced=False)
    checker.check(0, 1, uncommitted=[FIRST[1].digest])
    with broken("I12"):
        checker.check(0, 1)
    assert (checker.sequenced, checker.dropped, checker.open_count(0)) == (1, 1, 1)


@pytest.mark.parametrize("size", [9, 10, 11])
def test_i13_table_over_its_bound(size: int) -> None:
    if size <= 10:
        check_tables(0, {"parked": (size, 10)})
    else:
        with broken("I13"):
            check_tables(0, {"parked": (size, 10)})


def test_i8_other_or_fewer_commits_from_the_whole_dag() -> None:
    agreed = [digest(1), digest(2)]
    check_recomputed(agreed, [*agreed, digest(3)])
    with broken("I8"):
        check_recomputed(agreed, [digest(1), digest(3)])
    with broken("I8"):
        check_recomputed(agreed, agreed[:1])


def test_recomputing_decides_a_full_dag() -> None:
    rounds = [[VertexRef(0, a, ref.digest) for a, ref in enumerate(GENESIS)]]
    vertices = []
    for number in range(1, 9):
        made = []
        for author in range(4):
            others = [ref for ref in rounds[-1] if ref.author != author]
            ancestors = (rounds[-1][author], *others)
            made.append(
                validator_vertex(
                    round=number, author=author, ancestors=ancestors, tips=(), commit_votes=(), signed=False
                )
            )
        vertices += made
        rounds.append([vertex.ref for vertex in made])
    found = [recompute(vertices, COMMITTEE, ORIGIN, PARAMS, Chance.of(seed, "test")) for seed in range(5)]
    assert len(found[0]) == 6
    assert all(digests == found[0] for digests in found)
