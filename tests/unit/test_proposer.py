from collections.abc import Sequence
from typing import Any

import pytest
from engines import FOUR, SEED, START_MS, Forge, changed, flat, issuer, rules_of
from vertices import digest

from cherrydag.commit import CommitVote
from cherrydag.consensus.commit_votes import CommitVotes
from cherrydag.consensus.main_chain import ChainParams, MainChain
from cherrydag.consensus.proposer import DISTRUST_ROUNDS, Proposer, Scene
from cherrydag.consensus.rounds import Rounds
from cherrydag.consensus.timing import Timing
from cherrydag.dag.graph import Limits, Outcome
from cherrydag.dag.tips import TipSelector
from cherrydag.dag.window import Window
from cherrydag.primitives import Round, ValidatorIndex
from cherrydag.verify import EpochRules
from cherrydag.vertex import ValidatorVertex, Vertex

FORGE = Forge()
TIMEOUT_MS = Timing().leader_timeout_ms
DELAY_MS = Timing().min_round_delay_ms
RESEND_MS = Timing().resend_ms


class Stage:
    """A proposer and what it looks at. It leads neither round 1 nor 2 unless told otherwise."""

    def __init__(
        self,
        *vertices: Vertex,
        rules: EpochRules = FOUR,
        me: int | None = None,
        timing: Timing | None = None,
        limits: Limits | None = None,
    ) -> None:
        committee = rules.committee
        self.window = Window([member.stake for member in committee.members], SEED, limits)
        self.chain = MainChain(committee, bytes(32), self.window, ChainParams())
        self.rounds, self.votes = Rounds(committee), CommitVotes(committee)
        self.selector = TipSelector(self.window.graph, 7)
        self.equivocated: dict[ValidatorIndex, Round] = {}
        leads = [self.chain.leader(1), self.chain.leader(2)]
        self.me = next(a for a in range(len(committee)) if a not in leads) if me is None else me
        scene = Scene(self.window, self.chain, self.rounds, self.votes, self.selector, self.equivocated)
        self.proposer = Proposer(rules, self.me, timing or Timing(), scene)
        self.add(*vertices)

    def add(self, *vertices: Vertex) -> None:
        for vertex in vertices:
            assert self.window.insert(vertex).outcome is Outcome.INSERTED
            if isinstance(vertex, ValidatorVertex):
                self.chain.note(vertex)
                self.rounds.note(vertex.round, vertex.author)
                self.proposer.note(vertex)

    def others(self, *rows: Sequence[ValidatorVertex]) -> list[ValidatorVertex]:
        return [vertex for row in rows for vertex in row if vertex.author != self.me]

    def ready(self, after_ms: int, *, is_busy: bool = True) -> int | None:
        return self.proposer.ready(START_MS + after_ms, is_busy=is_busy)

    @property
    def wake_ms(self) -> int | None:
        """After START_MS."""
        wake_ms = self.proposer.wake_ms
        return None if wake_ms is None else wake_ms - START_MS


def stage_after(*rows: Sequence[Vertex], **settings: Any) -> Stage:
    """Our last vertex was made at START_MS, and the next round is looked at for the first time then."""
    stage = Stage(*flat(rows), **settings)
    stage.proposer.proposed(START_MS, is_busy=True)
    assert stage.ready(0) is None
    return stage


# When: C1, C2, C3


def test_c1_a_round_whose_leader_is_there_and_judged_is_followed_after_the_least_delay() -> None:
    stage = stage_after(*FORGE.rounds(2))
    assert stage.wake_ms == DELAY_MS
    assert stage.ready(DELAY_MS - 1) is None
    assert stage.ready(DELAY_MS) == 3


def test_c1_waits_for_the_leader_of_the_round_before() -> None:
    rows = FORGE.rounds(2)
    stage = Stage()
    leader = stage.chain.leader(2)
    stage = stage_after(rows[0], [vertex for vertex in rows[1] if vertex.author != leader])
    assert stage.ready(DELAY_MS) is None
    assert stage.wake_ms == TIMEOUT_MS
    stage.add(rows[1][leader])
    assert stage.ready(DELAY_MS + 1) == 3


def judged(votes: int) -> Stage:
    """After round 2, where so many of four have voted for the leader of round 1 and the others blame it."""
    leader = Stage().chain.leader(1)
    first = FORGE.rounds(1)[0]
    order = [leader, *(author for author in range(4) if author != leader)]
    row = [
        FORGE.vertex(2, author, [v for v in first if v.author != leader or place < votes])
        for place, author in enumerate(order)
    ]
    return stage_after(first, row)


@pytest.mark.parametrize("votes", [3, 4])
def test_c1_needs_a_quorum_of_votes_for_the_leader_before(votes: int) -> None:
    assert judged(votes).ready(DELAY_MS) == 3


def test_c1_or_the_skip_pattern() -> None:
    assert judged(1).ready(DELAY_MS) == 3


def test_c2_without_either_the_round_waits_for_its_timeout() -> None:
    stage = judged(2)
    assert stage.ready(DELAY_MS) is None
    assert stage.wake_ms == TIMEOUT_MS
    assert stage.ready(TIMEOUT_MS - 1) is None
    assert stage.ready(TIMEOUT_MS) == 3
    assert stage.wake_ms is None


def test_c2_counts_from_when_the_round_was_entered_not_from_our_last_vertex() -> None:
    rows = FORGE.rounds(2)
    stage = Stage(*rows[0], me=(Stage().chain.leader(2) + 1) % 4)
    stage.add(*(v for v in rows[1] if v.author in (stage.me, (stage.me + 1) % 4)))
    stage.proposer.proposed(START_MS, is_busy=True)
    assert stage.ready(300) is None
    assert stage.wake_ms is None
    stage.add(rows[1][(stage.me + 2) % 4])
    assert stage.ready(500) is None
    assert stage.wake_ms == 500 + TIMEOUT_MS
    assert stage.ready(500 + TIMEOUT_MS) == 3


def test_c3_a_round_that_a_quorum_has_begun_is_followed_at_once() -> None:
    rows = FORGE.rounds(3)
    stage = stage_after(*rows[:2])
    stage.add(*stage.others(rows[2])[:2])
    assert stage.ready(0) is None
    stage.add(stage.others(rows[2])[2])
    assert stage.ready(0) == 3


def test_the_timeout_doubles_with_every_eight_rounds_without_a_commit() -> None:
    rows = FORGE.rounds(80)
    for last, times in ((14, 1), (15, 2), (22, 2), (23, 4), (62, 64), (63, 64), (80, 64)):
        stage = Stage(*flat(rows[: last - 1]))
        leader = stage.chain.leader(last)
        if leader == stage.me:
            stage = Stage(*flat(rows[: last - 1]), me=(stage.me + 1) % 4)
        stage.add(*(vertex for vertex in rows[last - 1] if vertex.author != leader))
        stage.proposer.proposed(START_MS, is_busy=True)
        assert stage.ready(0) is None
        assert stage.ready(DELAY_MS) is None
        assert stage.wake_ms == times * TIMEOUT_MS


def rounds_with_open_slots(last: int) -> list[list[ValidatorVertex]]:
    """Two of four vote for the leader in each third round, so that none of these slots is ever decided."""
    leader_of = Stage().chain.leader
    rows = FORGE.rounds(1)
    for number in range(2, last + 1):
        leader = leader_of(number - 1)
        blaming = [(leader + 1) % 4, (leader + 2) % 4] if number % 3 == 2 else []
        rows.append(
            [
                FORGE.vertex(
                    number, author, [v for v in rows[-1] if author not in blaming or v.author != leader]
                )
                for author in range(4)
            ]
        )
    return rows


def test_rounds_whose_leaders_commit_behind_an_open_slot_do_not_count_for_the_timeout() -> None:
    rows = rounds_with_open_slots(63)
    for last, times in ((38, 1), (39, 2), (62, 2), (63, 4)):
        leader = Stage().chain.leader(last)
        stage = Stage(*flat(rows[: last - 1]), me=(leader + 1) % 4)
        stage.add(*(vertex for vertex in rows[last - 1] if vertex.author != leader))
        assert stage.chain.extend() == []
        stage.proposer.proposed(START_MS, is_busy=True)
        assert stage.ready(0) is None
        assert stage.ready(DELAY_MS) is None
        assert stage.wake_ms == times * TIMEOUT_MS


def silent(last: int, since: int) -> Stage:
    """In round `last + 1` of four of whom the leader of round `last` made no vertex from `since` on."""
    leader = Stage().chain.leader(last)
    rows = FORGE.rounds(since - 1)
    for number in range(since, last + 1):
        rows.append([FORGE.vertex(number, author, rows[-1]) for author in range(4) if author != leader])
    stage = Stage(*flat(rows), me=(leader + 1) % 4)
    stage.chain.extend()
    stage.proposer.proposed(START_MS, is_busy=True)
    assert stage.ready(0) is None
    return stage


@pytest.mark.parametrize("rounds", [3, 4, 12])
def test_a_leader_that_made_no_vertex_for_some_rounds_is_not_waited_for(rounds: int) -> None:
    assert silent(20, 21 - rounds).ready(DELAY_MS) == 21


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_leader_that_is_a_little_late_is_waited_for(rounds: int) -> None:
    stage = silent(20, 21 - rounds)
    assert stage.ready(DELAY_MS) is None
    assert stage.wake_ms == TIMEOUT_MS


def test_every_leader_is_waited_for_once_nothing_commits() -> None:
    """Else the rounds could for ever be faster than a validator that a quorum needs."""
    leader_of = Stage().chain.leader
    for last in range(12, 30):
        rows = FORGE.rounds(last - 4)
        away = leader_of(last)
        for number in range(last - 3, last + 1):
            rows.append([FORGE.vertex(number, author, rows[-1]) for author in range(4) if author != away])
        stage = Stage(*flat(rows), me=(away + 1) % 4)  # nobody has looked at what is committed
        stage.proposer.proposed(START_MS, is_busy=True)
        assert stage.ready(0) is None
        assert stage.ready(DELAY_MS) is None
        assert stage.wake_ms is not None
        assert stage.wake_ms >= TIMEOUT_MS


# Whether at all


def test_without_a_quorum_in_the_round_before_nothing_is_proposed() -> None:
    rows = FORGE.rounds(1)
    stage = Stage(*rows[0][:2], me=0)
    assert stage.ready(9999) is None
    assert stage.wake_ms is None
    stage.add(rows[0][2])
    stage.ready(9999)
    assert stage.ready(9999 + TIMEOUT_MS) == 2


def test_the_first_round_follows_the_genesis() -> None:
    stage = Stage()
    assert stage.ready(DELAY_MS) == 1
    others = [ref for ref in FORGE.genesis if ref.author != stage.me]
    assert stage.proposer.ancestors(1) == (FORGE.genesis[stage.me], *others)


def test_no_round_is_left_out_whatever_a_quorum_has_reached() -> None:
    rows = FORGE.rounds(5, authors=(1, 2, 3))
    stage = Stage(FORGE.first(0), *flat(rows), me=0)
    assert stage.ready(0) == 2
    stage.add(FORGE.vertex(2, 0, [FORGE.first(0), *rows[0]]))
    assert stage.ready(0) == 3


def test_nothing_is_proposed_at_or_below_the_floor() -> None:
    rows = FORGE.rounds(8, authors=(1, 2, 3))
    stage = Stage(*flat(rows[:5]), me=0)
    stage.proposer.raise_floor(6)
    stage.proposer.raise_floor(3)
    assert stage.proposer.next_round() is None
    stage.add(*rows[5])
    assert stage.proposer.next_round() == 7
    assert stage.proposer.ancestors(7)[0] == FORGE.genesis[0]


@pytest.mark.parametrize("most", [1, 5])
def test_nobody_talks_to_himself(most: int) -> None:
    """So many vertices that no quorum has linked, and no more while the others go on."""
    stage, own, rows = unheard(most)
    assert stage.ready(RESEND_MS - 1) is None
    assert stage.proposer.is_unheard
    last = [FORGE.vertex(most + 3, author, [own[0], *rows[-1]]) for author in (1, 2)]
    stage.add(last[0])
    assert stage.ready(RESEND_MS - 1) is None
    stage.add(last[1])
    assert stage.ready(RESEND_MS - 1) == most + 2
    assert not stage.proposer.is_unheard


def test_who_is_unheard_goes_on_once_the_rounds_stand_still() -> None:
    """The others may lack just our vertex for their quorum, and link ours in the next round only."""
    stage, own, rows = unheard(2)
    assert stage.ready(500) is None
    assert stage.wake_ms == RESEND_MS
    rows.append([FORGE.vertex(5, author, rows[-1]) for author in (1, 2, 3)])
    stage.add(*rows[-1])
    assert stage.ready(900) is None
    assert stage.wake_ms == 900 + RESEND_MS
    assert stage.ready(900 + RESEND_MS - 1) is None
    for number in (4, 5, 6):  # up to where the others are, without another wait
        assert stage.ready(900 + RESEND_MS) == number
        own.append(FORGE.vertex(number, 0, [own[-1], *rows[number - 2]]))
        stage.add(own[-1])
    assert stage.proposer.is_unheard


def unheard(most: int) -> tuple[Stage, list[ValidatorVertex], list[list[ValidatorVertex]]]:
    """A stage whose proposer has made as many vertices as it may that nobody links, two rounds behind the
    others; its vertices; and theirs by round."""
    rows = FORGE.rounds(most + 2, authors=(1, 2, 3))
    stage = Stage(*flat(rows), me=0, timing=changed(unreferenced_max=most))
    own = [FORGE.first(0)]
    stage.add(own[0])
    for number in range(2, most + 2):
        assert stage.ready(0) == number
        own.append(FORGE.vertex(number, 0, [own[-1], *rows[number - 2]]))
        stage.add(own[-1])
    assert stage.ready(0) is None
    return stage, own, rows


def test_rounds_that_are_committed_already_are_passed_over() -> None:
    rows = FORGE.rounds(6, authors=(1, 2, 3))
    stage = Stage(FORGE.first(0), *flat(rows), me=0)
    stage.votes.note(FORGE.first(1, commit_votes=(CommitVote(4, digest(4)),)))
    assert stage.proposer.next_round() == 2
    stage.votes.note(FORGE.first(3, commit_votes=(CommitVote(5, digest(5)),)))
    assert stage.proposer.next_round() == 5


def test_the_window_s_last_round_and_place_are_the_last_to_be_proposed_for() -> None:
    rows = FORGE.rounds(17, authors=(1, 2, 3))
    for last, following in ((15, 16), (16, None)):
        stage = Stage(*flat(rows[:last]), me=0, limits=Limits(rounds=16))
        stage.proposer.raise_floor(last)
        assert stage.proposer.next_round() == following
    for size, following in ((7, 3), (6, None)):
        stage = Stage(*flat(rows[:2]), me=0, limits=Limits(vertices=size))
        stage.proposer.raise_floor(2)
        assert stage.proposer.next_round() == following


# Pace


def test_with_nothing_to_order_the_delay_doubles_up_to_its_bound() -> None:
    stage = stage_after(*FORGE.rounds(2), timing=changed(idle_round_delay_ms=4000))
    waits = []
    for _ in range(9):
        stage.proposer.proposed(START_MS, is_busy=False)
        assert stage.ready(0, is_busy=False) is None
        waits.append(stage.wake_ms)
        assert stage.ready(waits[-1] - 1, is_busy=False) is None
        assert stage.ready(waits[-1], is_busy=False) == 3
    assert waits == [100, 200, 400, 800, 1600, 3200, 4000, 4000, 4000]


def test_something_to_order_ends_the_delay_at_once() -> None:
    stage = stage_after(*FORGE.rounds(2))
    for _ in range(5):
        stage.proposer.proposed(START_MS, is_busy=False)
    assert stage.ready(DELAY_MS, is_busy=False) is None
    assert stage.ready(DELAY_MS, is_busy=True) == 3
    stage.proposer.proposed(START_MS, is_busy=False)
    assert stage.ready(0, is_busy=False) is None
    assert stage.wake_ms == 2 * DELAY_MS


def test_the_delay_doubles_from_nothing_too() -> None:
    stage = Stage(*flat(FORGE.rounds(2)), timing=changed(min_round_delay_ms=0))
    waits = []
    for _ in range(4):
        stage.proposer.proposed(START_MS, is_busy=False)
        stage.ready(0, is_busy=False)
        waits.append(stage.wake_ms)
    assert waits == [1, 2, 4, 8]


def test_an_idle_leader_is_not_timed_out_before_it_could_be_there() -> None:
    rows = FORGE.rounds(2)
    leader = Stage().chain.leader(2)
    stage = Stage(*rows[0], *(vertex for vertex in rows[1] if vertex.author != leader))
    for _ in range(4):
        stage.proposer.proposed(START_MS, is_busy=False)
    assert stage.ready(0, is_busy=False) is None
    assert stage.ready(16 * DELAY_MS, is_busy=False) is None
    assert stage.wake_ms == 16 * DELAY_MS + TIMEOUT_MS


def test_a_solo_chain_proposes_at_once_and_only_if_there_is_something_to_order() -> None:
    rules = rules_of([3])
    stage = Stage(rules=rules, me=0)
    assert stage.ready(0, is_busy=False) is None
    assert stage.wake_ms is None
    assert stage.ready(0, is_busy=True) == 1


# Ancestors


def test_our_own_vertex_comes_first_and_each_author_once() -> None:
    rows = FORGE.rounds(3)
    stage = Stage(*flat(rows))
    assert stage.proposer.ancestors(4) == (
        rows[2][stage.me].ref,
        *(vertex.ref for vertex in stage.others(rows[2])),
    )


def test_a_slow_author_is_linked_weakly_and_once() -> None:
    rows = FORGE.rounds(1)
    row2 = [FORGE.vertex(2, author, rows[0][:3]) for author in (0, 1, 2)]
    stage = Stage(*rows[0][:3], *row2, me=0)
    assert [ref.author for ref in stage.proposer.ancestors(3)] == [0, 1, 2]
    stage.add(rows[0][3])
    assert stage.proposer.ancestors(3)[-1] == rows[0][3].ref
    row3 = [FORGE.vertex(3, 0, [*row2, rows[0][3]]), *(FORGE.vertex(3, a, row2) for a in (1, 2))]
    stage.add(*row3)
    assert [ref.author for ref in stage.proposer.ancestors(4)] == [0, 1, 2]
    late = FORGE.vertex(2, 3, rows[0])
    stage.add(late)
    assert stage.proposer.ancestors(4)[-1] == late.ref


def test_only_vertices_below_the_round_are_linked() -> None:
    rows = FORGE.rounds(5, authors=(1, 2, 3))
    stage = Stage(FORGE.first(0), *flat(rows), me=0)
    assert stage.proposer.ancestors(2) == (FORGE.first(0).ref, *(vertex.ref for vertex in rows[0]))


def test_of_an_equivocation_the_lowest_digest_is_linked_and_never_another() -> None:
    rows = FORGE.rounds(2)
    pair = [FORGE.vertex(2, 3, rows[0], variant=variant) for variant in range(4)]
    low, *others = sorted(pair, key=lambda vertex: vertex.digest)
    for order in (pair, pair[::-1]):
        stage = Stage(*rows[0], *rows[1][:3], *order, me=0)
        assert stage.proposer.ancestors(3)[-1] == low.ref
        stage.add(FORGE.vertex(3, 0, [*rows[1][:3], low]))
        stage.add(*(FORGE.vertex(3, author, rows[1][:3]) for author in (1, 2)))
        assert [ref.author for ref in stage.proposer.ancestors(4)] == [0, 1, 2]
    stage = Stage(*rows[0], *rows[1][:3], others[0], me=0)
    stage.add(FORGE.vertex(3, 0, [*rows[1][:3], others[0]]), low)
    assert low.ref not in stage.proposer.ancestors(4)


def test_who_has_equivocated_is_left_out_while_the_others_are_a_quorum() -> None:
    rows = FORGE.rounds(2)
    stage = Stage(*flat(rows))
    liar = next(author for author in range(4) if author != stage.me)
    assert {ref.author for ref in stage.proposer.ancestors(Round(3))} == {0, 1, 2, 3}
    stage.equivocated[ValidatorIndex(liar)] = Round(2)
    assert {ref.author for ref in stage.proposer.ancestors(Round(3))} == {0, 1, 2, 3} - {liar}


def test_our_own_last_vertex_is_linked_whatever_was_seen_of_us() -> None:
    rows = FORGE.rounds(2)
    stage = Stage(*flat(rows))
    stage.equivocated[ValidatorIndex(stage.me)] = Round(2)
    assert stage.proposer.ancestors(Round(3))[0] == rows[1][stage.me].ref
    assert len(stage.proposer.ancestors(Round(3))) == 4


def test_who_has_equivocated_is_taken_where_there_is_no_quorum_without_him_but_late() -> None:
    rows = FORGE.rounds(2)
    probe = Stage()
    liar, absent = [author for author in range(4) if author not in (probe.me, probe.chain.leader(2))]
    stage = stage_after(rows[0], [vertex for vertex in rows[1] if vertex.author != absent], me=probe.me)
    assert stage.ready(DELAY_MS) == 3
    stage = stage_after(rows[0], [vertex for vertex in rows[1] if vertex.author != absent], me=probe.me)
    stage.equivocated[ValidatorIndex(liar)] = Round(2)
    assert stage.ready(DELAY_MS) is None and stage.wake_ms == TIMEOUT_MS
    assert stage.ready(TIMEOUT_MS - 1) is None
    assert stage.ready(TIMEOUT_MS) == 3
    assert {ref.author for ref in stage.proposer.ancestors(Round(3)) if ref.round == 2} == {0, 1, 2, 3} - {
        absent
    }


def test_a_third_that_comes_late_is_better_than_one_who_has_equivocated() -> None:
    rows = FORGE.rounds(2)
    probe = Stage()
    liar, late = [author for author in range(4) if author not in (probe.me, probe.chain.leader(2))]
    stage = stage_after(rows[0], [vertex for vertex in rows[1] if vertex.author != late], me=probe.me)
    stage.equivocated[ValidatorIndex(liar)] = Round(1)
    assert stage.ready(DELAY_MS) is None
    stage.add(rows[1][late])
    assert stage.ready(DELAY_MS + 1) == 3
    assert liar not in {ref.author for ref in stage.proposer.ancestors(Round(3))}


def test_a_leader_that_has_equivocated_is_not_waited_for() -> None:
    rows = FORGE.rounds(2)
    leader = Stage().chain.leader(2)
    stage = stage_after(rows[0], [vertex for vertex in rows[1] if vertex.author != leader])
    stage.equivocated[leader] = Round(1)
    assert stage.ready(DELAY_MS) == 3


@pytest.mark.parametrize(("ago", "is_left_out"), [(DISTRUST_ROUNDS, True), (DISTRUST_ROUNDS + 1, False)])
def test_after_many_rounds_an_equivocator_is_taken_again(ago: int, is_left_out: bool) -> None:
    stage = Stage(*flat(FORGE.rounds(2)))
    liar = next(author for author in range(4) if author != stage.me)
    stage.equivocated[ValidatorIndex(liar)] = Round(3 - ago)
    assert (liar not in {ref.author for ref in stage.proposer.ancestors(Round(3))}) == is_left_out


def test_what_lies_at_or_below_gc_round_is_not_linked() -> None:
    rows = FORGE.rounds(6, authors=(0, 1, 2))
    stage = Stage(*flat(rows), FORGE.first(3), me=0)
    assert FORGE.first(3).ref in stage.proposer.ancestors(7)
    stage.window.set_gc_round(1)
    assert [ref.author for ref in stage.proposer.ancestors(7)] == [0, 1, 2]


# Tips


def test_tips_are_operators_vertices_of_the_window_of_tips() -> None:
    rows = FORGE.rounds(40)
    stage = Stage(*flat(rows), me=0)
    anchors = (8, 9, 10, 11, 38, 39, 40)
    made = {}
    for number in anchors:
        made[number] = FORGE.operator(number, rows[number - 1][:2])
        stage.add(made[number])
        stage.window.set_issuer(issuer(number), 1, 9)
    assert sorted(ref.anchor_round for ref in stage.proposer.tips(40, 1)) == [10, 11, 38, 39]
    assert sorted(ref.anchor_round for ref in stage.proposer.tips(41, 1)) == [11, 38, 39, 40]


@pytest.mark.parametrize("n", [0, 7, 8, 9, 63, 64, 65, 100])
def test_a_vertex_lists_up_to_sixty_four_tips(n: int) -> None:
    rows = FORGE.rounds(2)
    stage = Stage(*flat(rows), *(FORGE.operator(100 + i, rows[0][:2]) for i in range(n)), me=0)
    for i in range(n):
        stage.window.set_issuer(issuer(100 + i), 1, 9)
    listed = stage.proposer.tips(3, 1)
    assert len(set(listed)) == len(listed) == min(n, 64)


def test_a_tip_is_listed_once() -> None:
    rows = FORGE.rounds(2)
    tip = FORGE.operator(1, rows[0][:2])
    stage = Stage(*flat(rows), tip, me=0)
    stage.window.set_issuer(issuer(1), 1, 9)
    assert stage.proposer.tips(3, 1) == (tip.ref,)
    stage.add(FORGE.vertex(3, 0, rows[1], tips=(tip.ref,)))
    assert stage.proposer.tips(4, 1) == ()


def test_vertices_without_a_bond_are_no_tips() -> None:
    rows = FORGE.rounds(2)
    stage = Stage(*flat(rows), FORGE.operator(1, rows[0][:2]), me=0)
    assert stage.proposer.tips(3, 1) == ()
