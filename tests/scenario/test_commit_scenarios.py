"""The named cases of the commit rule (consensus.md, section 9). n = 4, quorum 3, leader(r) = r mod 4.

Each is put to the rule in its own words and to the committer.
"""

import random
from typing import TypeAlias

import pytest
from reference.commit_reference import Decider, Status
from scenario.dag_dsl import Dag, Vertex, full, parse
from scenario.live_dag import LiveDecider
from scenario.random_dags import causal_order, random_dag

A, B, C, D = range(4)

Rule: TypeAlias = type[Decider] | type[LiveDecider]


@pytest.fixture(params=[Decider, LiveDecider], ids=["reference", "committer"])
def rule(request: pytest.FixtureRequest) -> Rule:
    chosen: Rule = request.param
    return chosen


def status(rule: Rule, text: str, number: int) -> Status:
    return {s.slot[0]: s for s in rule(parse(text)).statuses()}[number]


def decided(rule: Rule, text: str) -> list[str]:
    return [str(s) for s in rule(parse(text)).decide()]


def test_direct_commit(rule: Rule) -> None:
    text = f"""{full(1, 3)}
        Round 4 : {{ A -> [D3], B -> [D3], C -> [D3], D -> [] }}
        Round 5 : {{ A -> [A4, B4, C4], B -> [A4, B4, C4], C -> [A4, B4, C4], D -> [] }}"""
    assert status(rule, text, 3) == Status((3, D), "commit", Vertex(3, D))


def test_direct_skip(rule: Rule) -> None:
    text = f"""{full(1, 3)}
        Round 4 : {{ A -> [D3], B -> [], C -> [], D -> [] }}
        Round 5 : {{ * }}"""
    assert status(rule, text, 3) == Status((3, D), "skip")


def test_direct_undecided(rule: Rule) -> None:
    text = f"""{full(1, 3)}
        Round 4 : {{ A -> [D3], B -> [D3], C -> [], D -> [] }}
        Round 5 : {{ * }}"""
    assert status(rule, text, 3) == Status((3, D), "undecided")


def test_undecided_for_want_of_votes_either_way(rule: Rule) -> None:
    text = f"""{full(1, 3)}
        Round 4 : {{ A -> [*], B -> [-D3], C -> [-D3] }}
        Round 5 : {{ * }}"""
    assert status(rule, text, 3) == Status((3, D), "undecided")
    assert decided(rule, text) == ["commit B1", "commit C2"]


def test_indirect_commit(rule: Rule) -> None:
    """Three votes, but two certificates only; the anchor of round 6 reaches one."""
    text = f"""{full(1, 3)}
        Round 4 : {{ A -> [*], B -> [*], C -> [*], D -> [-D3] }}
        Round 5 : {{ A -> [*], B -> [*], C -> [-A4], D -> [-A4] }}
        {full(6, 8)}"""
    assert rule(parse(text)).direct((3, D)).verdict == "undecided"
    assert status(rule, text, 3) == Status((3, D), "commit", Vertex(3, D))


def test_indirect_skip(rule: Rule) -> None:
    """C6 has two votes and two blames, and no certificate anywhere."""
    text = f"""{full(1, 6)}
        Round 7 : {{ A -> [*], B -> [*], C -> [-C6], D -> [-C6] }}
        {full(8, 11)}"""
    assert rule(parse(text)).direct((6, C)).verdict == "undecided"
    expected = ["commit B1", "commit C2", "commit D3", "commit A4", "commit B5", "skip (6, 2)"]
    assert decided(rule, text) == [*expected, "commit D7", "commit A8", "commit B9"]


def test_an_undecided_anchor_stops_the_search(rule: Rule) -> None:
    """D3 waits for the slot of round 6, though that of round 7 has committed and would skip D3."""
    text = f"""{full(1, 3)}
        Round 4 : {{ A -> [*], B -> [*], C -> [-D3], D -> [-D3] }}
        {full(5, 6)}
        Round 7 : {{ A -> [*], B -> [*], C -> [-C6], D -> [-C6] }}
        {full(8, 9)}"""
    found = {s.slot[0]: s.verdict for s in rule(parse(text)).statuses()}
    assert (found[3], found[6], found[7]) == ("undecided", "undecided", "commit")
    later = text + "\n" + full(10, 11)
    found = {s.slot[0]: s.verdict for s in rule(parse(later)).statuses()}
    assert (found[3], found[6], found[9]) == ("skip", "skip", "commit")


def test_a_voter_with_many_vertices_cannot_stop_a_direct_commit(rule: Rule) -> None:
    """C makes three more C13 without A12, and each vertex of round 14 lists another one."""
    text = f"""{full(1, 12)}
        Round 13 : {{ A -> [*], B -> [*], C -> [*], D -> [*],
                      C' -> [-A12], C'' -> [-A12], C''' -> [-A12] }}
        Round 14 : {{ A -> [A13, B13, C13, D13], B -> [A13, B13, C13', D13],
                      C -> [A13, B13, C13'', D13], D -> [A13, B13, C13''', D13] }}"""
    assert status(rule, text, 12) == Status((12, A), "commit", Vertex(12, A))


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [("ABC", "D", "commit"), ("AB", "CD", "undecided")],
)
def test_a_leader_that_equivocates(rule: Rule, first: str, second: str, verdict: str) -> None:
    """Votes split 3/1 commit the one; split 2/2 leave the slot open, and an anchor then skips it."""
    links = dict.fromkeys(first, "A3, B3, C3, D3") | dict.fromkeys(second, "A3, B3, C3, D3'")
    voters = ", ".join(f"{name} -> [{links[name]}]" for name in sorted(links))
    text = f"""{full(1, 2)}
        Round 3 : {{ A -> [*], B -> [*], C -> [*], D -> [*], D' -> [*] }}
        Round 4 : {{ {voters} }}
        Round 5 : {{ * }}"""
    assert status(rule, text, 3).verdict == verdict
    expected = "commit D3" if verdict == "commit" else "skip (3, 3)"
    assert decided(rule, text + "\n" + full(6, 8))[2] == expected


def test_a_leader_that_comes_after_its_skip_changes_nothing(rule: Rule) -> None:
    dag = parse(
        f"""{full(1, 2)}
        Round 3 : {{ A -> [*], B -> [*], C -> [*] }}
        {full(4, 6)}"""
    )
    watching = rule(dag)
    before = watching.decide()
    assert Status((3, D), "skip") in before
    dag.add(Vertex(3, D), tuple(dag.at_round(2)))
    assert watching.decide() == rule(dag).decide() == before


def test_an_equivocators_certificate_serves_an_anchor(rule: Rule) -> None:
    """Only A5' certifies D3, and the anchor reaches it: an indirect commit."""
    text = f"""{full(1, 3)}
        Round 4 : {{ A -> [*], B -> [*], C -> [*], D -> [-D3] }}
        Round 5 : {{ A -> [-C4], A' -> [*], B -> [-A4], C -> [-B4], D -> [-C4] }}
        Round 6 : {{ A -> [A5', B5, C5, D5], B -> [*], C -> [A5', B5, C5, D5], D -> [*] }}
        {full(7, 8)}"""
    assert rule(parse(text)).direct((3, D)).verdict == "undecided"
    assert status(rule, text, 3) == Status((3, D), "commit", Vertex(3, D))


def test_a_link_to_an_older_vertex_of_the_leader_still_blames(rule: Rule) -> None:
    text = f"""{full(1, 3)}
        Round 4 : {{ A -> [A3, B3, C3, D2], B -> [A3, B3, C3, D2], C -> [A3, B3, C3, D2], D -> [*] }}
        Round 5 : {{ * }}"""
    assert status(rule, text, 3) == Status((3, D), "skip")


def test_two_certificates_of_one_author_count_once(rule: Rule) -> None:
    text = f"""{full(1, 3)}
        Round 4 : {{ A -> [*], B -> [*], C -> [*], D -> [-D3] }}
        Round 5 : {{ A -> [*], A' -> [-D4], B -> [*], C -> [-A4] }}"""
    assert status(rule, text, 3) == Status((3, D), "undecided")
    assert status(rule, text.replace("C -> [-A4]", "C -> [*]"), 3).verdict == "commit"


def test_nothing_commits_inside_the_first_wave(rule: Rule) -> None:
    assert decided(rule, full(1, 1)) == decided(rule, full(1, 2)) == []
    assert decided(rule, full(1, 3)) == ["commit B1"]


def test_one_late_call_decides_what_ten_calls_would(rule: Rule) -> None:
    whole = rule(parse(full(1, 32))).decide()
    steps: list[Status] = []
    for last in range(3, 33):
        steps += rule(parse(full(1, last))).decide(len(steps))
    assert steps == whole
    assert [s.verdict for s in whole] == ["commit"] * 30
    assert rule(parse(full(1, 32))).decide(30) == []


def by_round(number: int) -> int:
    return number % 4


@pytest.mark.parametrize("seed", range(10))
def test_every_leader_that_all_link_commits(rule: Rule, seed: int) -> None:
    dag = random_dag(random.Random(seed), [1] * 4, 30, leader=by_round)
    assert [s.verdict for s in rule(dag).decide()] == ["commit"] * 28


def half_linked(seed: int) -> Dag:
    return random_dag(random.Random(1000 + seed), [1] * 4, 24, leader=by_round, leader_chance=0.5)


def test_random_dags_hold_every_verdict() -> None:
    """Or the next test would say little."""
    decided = [Decider(half_linked(seed)).decide() for seed in range(25)]
    verdicts = [s.verdict for found in decided for s in found]
    assert min(verdicts.count("commit"), verdicts.count("skip")) > 25
    assert any(len(found) < 22 for found in decided), "some slot stays open"


@pytest.mark.parametrize("seed", range(25))
def test_what_is_decided_stays_so_while_the_dag_grows(rule: Rule, seed: int) -> None:
    """Any causal prefix decides a prefix of what the whole DAG decides."""
    rng = random.Random(1000 + seed)
    dag = half_linked(seed)
    whole = Decider(dag).decide()
    partial = Dag(4)
    watching = rule(partial)
    for vertex in causal_order(rng, {v: dag.ancestors[v] for v in sorted(dag.ancestors) if v.round}, 12):
        partial.add(vertex, dag.ancestors[vertex])
        if rng.random() < 0.3:
            found = watching.decide()
            assert found == whole[: len(found)]
    assert watching.decide() == whole
