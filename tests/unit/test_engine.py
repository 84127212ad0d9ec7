import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engine_network import Network, network_of, prefix_equal
from engines import ALWAYS, START_MS, Forge, Host, Payloads, changed, flat, issuer, of_type, rules_of

from cherrydag.consensus.effects import (
    Broadcast,
    Effect,
    Execute,
    Lost,
    Persist,
    Relay,
    SubDag,
)
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.dag.graph import Limits
from cherrydag.vertex import ValidatorVertex

TESTS = Path(__file__).resolve().parent.parent
FORGE = Forge()
SMALL = ChainParams(gc_depth=5, scoring_commits=10, checkpoint_commits=7)


def host_of(me: int | None = 0, payloads: int = ALWAYS, **settings: Any) -> Host:
    return Host(me, payloads=Payloads(payloads), **settings)


def sent(effects: list[Effect]) -> list[ValidatorVertex]:
    return [effect.vertex for effect in of_type(effects, Broadcast)]


def sub_dags(effects: list[Effect]) -> list[SubDag]:
    return [effect.sub_dag for effect in of_type(effects, Execute)]


def others(last: int) -> list[ValidatorVertex]:
    """Rounds 1..last of validators 1 to 3, who hear nothing of 0."""
    return flat(FORGE.rounds(last, authors=(1, 2, 3)))


# Durability


def test_our_vertex_is_sent_when_its_write_is_durable_and_not_before() -> None:
    host = host_of()
    effects = host.start()
    [persist] = of_type(effects, Persist)
    [own] = persist.vertices
    assert sent(effects) == []
    assert sent(host.give(FORGE.rounds(1)[0][1:])) == []
    assert sent(host.engine.on_tick(START_MS + 999)) == []
    assert sent(host.engine.on_persisted(persist.ticket - 1, START_MS + 999)) == []
    effects = host.engine.on_persisted(persist.ticket, START_MS + 999)
    assert sent(effects) == [own]
    [second] = of_type(effects, Persist)
    assert [vertex.round for vertex in second.vertices] == [1, 1, 1, 2]


def test_a_commit_is_executed_when_its_write_is_durable_in_order_and_without_a_gap() -> None:
    host = host_of(None)
    effects = host.start()
    for vertex in others(30):
        effects += host.give([vertex])
    writes = of_type(effects, Persist)
    assert len(writes) > 10
    assert of_type(effects, Execute) == []
    executed = sub_dags(host.engine.on_persisted(writes[4].ticket, START_MS))
    assert [s.commit for s in executed] == flat(persist.commits for persist in writes[:5])
    executed += sub_dags(host.engine.on_persisted(writes[-1].ticket, START_MS))
    assert [s.commit.index for s in executed] == list(range(1, host.engine.chain.index + 1))
    written = flat(persist.vertices for persist in writes)
    for sub_dag in executed:
        assert tuple(vertex.ref for vertex in sub_dag.vertices) == sub_dag.commit.vertices
        assert all(vertex in written for vertex in sub_dag.vertices)


def test_a_vertex_is_written_after_its_parents_and_once() -> None:
    net = network_of(4).start()
    net.run(1500)
    for site in net.sites:
        written = [vertex.ref for vertex in site.host.store.vertices_above(0)]
        assert len(set(written)) == len(written)
        seen = set(FORGE.genesis)
        for vertex in site.host.store.vertices_above(0):
            assert seen.issuperset(vertex.ancestors)
            seen.add(vertex.ref)


# Networks


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_a_committee_commits_one_chain(n: int) -> None:
    net = network_of(n, params=SMALL).start()
    net.run(2000 if n > 1 else 10)
    chains = net.chains()
    assert prefix_equal(chains)
    assert min(map(len, chains)) > 20
    assert all(not site.others or {type(e) for e in site.others} <= {Lost} for site in net.sites)


def test_a_committee_of_two_hundred_makes_its_first_rounds() -> None:
    rules = rules_of([1] * 200)
    forge = Forge(rules)
    host = host_of(7, rules=rules)
    host.save(host.start())
    row = [forge.first(author) for author in range(200) if author != 7]
    assert sent(host.save(host.give(row[:132]))) == []
    assert sent(host.save(host.give(row[132:133]), START_MS + 60)) == []
    effects = host.save(host.engine.on_tick(START_MS + 300), START_MS + 300)
    [own] = sent(effects)
    assert (own.round, len(own.ancestors), own.ancestors[0].author) == (2, 134, 7)


def test_a_third_of_silent_validators_does_not_stop_the_others() -> None:
    net = network_of(4, passes=lambda sender, receiver, now_ms: 3 not in (sender, receiver)).start()
    net.run(4000)
    assert prefix_equal(net.chains()[:3])
    assert all(len(chain) > 12 for chain in net.chains()[:3])
    assert net.chains()[3] == []


def test_who_was_cut_off_catches_up_round_by_round() -> None:
    net = network_of(4)
    net.passes = lambda sender, receiver, now_ms: 3 not in (sender, receiver) or now_ms > START_MS + 900
    net.start().run(3500)
    assert prefix_equal(net.chains())
    assert len(net.chains()[3]) > 20
    rounds = [vertex.round for vertex in net.sites[3].sent]
    assert rounds == sorted(set(rounds))


def test_an_observer_follows_and_never_signs() -> None:
    rules = rules_of([1] * 4)
    hosts = [Host(me, rules, payloads=Payloads(ALWAYS)) for me in range(4)] + [Host(None, rules)]
    net = Network(hosts).start()
    net.run(1500)
    assert prefix_equal(net.chains())
    assert len(net.chains()[4]) > 15
    assert net.sites[4].sent == []
    assert net.sites[4].host.engine.is_recovered


def test_two_runs_under_different_hash_seeds_do_the_same() -> None:
    script = (
        "from engine_network import *; from engines import *; from cherrydag import crypto;"
        "from cherrydag.consensus.main_chain import ChainParams;"
        "net = network_of(4, params=ChainParams(gc_depth=5, scoring_commits=10)); net.start(); net.run(400);"
        "net.crash(2); net.run(300); net.boot(2); net.run(700);"
        "print(len(net.history), crypto.hash_bytes(repr(net.history).encode()).hex())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": f"{TESTS}:{TESTS.parent}/engine"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert int(runs[0].split()[0]) > 200


# Rounds


def test_a_round_is_not_left_out_although_a_quorum_is_far_ahead() -> None:
    me = host_of().engine.chain.leader(1)  # so nothing commits meanwhile
    host = host_of(me)
    effects = host.start(answered=False)
    effects += host.give(flat(FORGE.rounds(3, authors=[a for a in range(4) if a != me])))
    assert sent(host.save(effects)) == []
    for peer in range(4):
        effects += host.save(host.engine.on_newest((), peer, START_MS))
    assert host.engine.chain.index == 0
    assert [vertex.round for vertex in sent(effects)] == [1, 2, 3]


def test_our_last_vertex_is_sent_again_while_a_quorum_for_its_round_is_lacking() -> None:
    host = host_of()
    [own] = sent(host.save(host.start()))
    assert host.engine.wake_at_ms == START_MS + 1000
    assert host.engine.on_tick(START_MS + 999) == []
    assert sent(host.engine.on_tick(START_MS + 1000)) == [own]
    assert sent(host.engine.on_tick(START_MS + 1999)) == []
    assert sent(host.engine.on_tick(START_MS + 2000)) == [own]


def test_with_a_quorum_for_its_round_our_last_vertex_is_not_sent_again() -> None:
    leader = host_of().engine.chain.leader(1)
    me = (leader + 1) % 4
    host = host_of(me, timing=changed(leader_timeout_ms=9000))
    host.save(host.start())
    host.save(host.give([vertex for vertex in FORGE.rounds(1)[0] if vertex.author not in (me, leader)]))
    assert len(host.engine.window) == 3
    assert [sent(host.engine.on_tick(START_MS + ms)) for ms in (999, 1000, 2000)] == [[], [], []]


def test_a_quorum_that_lost_a_round_s_vertices_goes_on_once_they_are_sent_again() -> None:
    net = network_of(4)
    net.passes = lambda sender, receiver, now_ms: not START_MS + 500 < now_ms < START_MS + 900
    net.start().run(6000)
    assert min(map(len, net.chains())) > 50
    assert prefix_equal(net.chains())


def test_a_validator_whose_vertices_were_lost_is_heard_again_soon() -> None:
    """The others need it not, so it has a quorum in its own round all the time."""
    net = network_of(4)
    net.passes = lambda sender, receiver, now_ms: sender != 3 or not START_MS + 500 < now_ms < START_MS + 2000
    net.start().run(3500)
    heard = [vertex for vertex in _executed(net, 0) if vertex.author == 3]
    assert heard


def test_an_idle_network_slows_down_and_wakes_with_the_first_payload() -> None:
    net = network_of(4)
    for site in net.sites:
        site.host.payloads.left = 0
    net.start().run(60_000)
    idle = [len(site.sent) for site in net.sites]
    assert max(idle) < 26
    net.offer(1, 1)
    at_ms = net.now_ms
    net.run(6000, until=lambda: any(len(v.payload) for v in _executed(net, 3)))
    assert net.now_ms - at_ms < 1000


def _executed(net: Network, number: int) -> list[ValidatorVertex]:
    host = net.sites[number].host
    commits = host.store.commits(1, net.sites[number].executed[-1][0]) if net.sites[number].executed else []
    return [v for c in commits[-3:] for v in host.store.vertices(c.vertices) if v is not None]


def test_a_full_window_silences_us_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds without a commit: each leader's vertex comes too late for all others."""
    for limits in (Limits(rounds=16, vertices=4096), Limits(vertices=40), Limits(blocks=64)):
        monkeypatch.setattr("cherrydag.consensus.engine.WINDOW", limits)
        host = host_of(params=ChainParams(gc_depth=3))
        own = {v.round: v for v in sent(host.save(host.start()))}
        before = [FORGE.first(author) for author in (1, 2, 3)]
        for number in range(2, 40):
            now_ms = START_MS + 30_000 * number
            effects = host.save(host.give(before, now_ms), now_ms)
            effects += host.save(host.engine.on_tick(now_ms), now_ms)
            own |= {v.round: v for v in sent(effects)}
            known = [*before, own[number - 1]] if number - 1 in own else before
            leader = host.engine.chain.leader(number - 1)
            before = [
                FORGE.vertex(number, author, [v for v in known if leader != v.author or v.author == author])
                for author in (1, 2, 3)
            ]
        assert host.engine.chain.index == 0
        assert 8 < max(own) < 20


# Solo


def test_a_solo_chain_closes_a_batch_with_its_three_vertices_in_one_write() -> None:
    host = host_of(payloads=0, rules=rules_of([5]))
    assert host.start() == []
    assert host.engine.wake_at_ms is None
    host.payloads.left = 1
    [persist] = host.engine.on_payload(START_MS)
    assert [vertex.round for vertex in persist.vertices] == [1, 2, 3]
    assert [len(vertex.payload) for vertex in persist.vertices] == [1, 0, 0]
    [commit] = persist.commits
    assert commit.leader == persist.vertices[0].ref
    done = host.engine.on_persisted(persist.ticket, START_MS + 1)
    assert [s.commit for s in sub_dags(done)] == [commit]
    assert of_type(done, Persist) == []
    assert host.engine.wake_at_ms is None
    host.payloads.left = 1
    [persist] = host.engine.on_payload(START_MS + 2)
    assert [len(vertex.payload) for vertex in persist.vertices][-3:] == [1, 0, 0]


def test_a_solo_chain_puts_so_many_payloads_under_one_write_and_no_more() -> None:
    host = host_of(payloads=20, rules=rules_of([5]), timing=changed(solo_burst=8))
    writes = []
    effects = host.start()
    while found := of_type(effects, Persist):
        [persist] = found
        writes.append(persist)
        host.store.write(persist)
        effects = host.engine.on_persisted(persist.ticket, START_MS)
    assert [sum(len(v.payload) for v in persist.vertices) for persist in writes] == [8, 8, 4]
    assert [len(persist.vertices) for persist in writes] == [10, 10, 6]
    assert host.payloads.left == 0


# Operators


def test_an_operators_vertex_is_relayed_listed_and_committed() -> None:
    net = network_of(4)
    net.start().run(300)
    for site in net.sites:
        site.host.engine.set_issuer(issuer(1), 10, 1)
    known = net.sites[0].host.engine.window
    highest = known.graph.highest_round
    tip = FORGE.operator(1, [known.slot(highest - 1, a)[0] for a in (0, 1)], timestamp_ms=net.now_ms)
    effects = net.sites[0].host.engine.on_vertices([tip], 70_000, net.now_ms)
    assert Relay(tip, 70_000) in effects
    net._perform(0, effects)
    net.run(1500)
    for site in net.sites:
        ordered = [ref for commit in site.host.store.commits(1, 999) for ref in commit.vertices]
        assert ordered.count(tip.ref) == 1
    # What is committed no longer counts against the quota of one.
    window = net.sites[1].host.engine.window
    parents = [tip, window.slot(window.graph.highest_round - 1, 2)[0]]
    second = FORGE.operator(1, parents, seq=1, timestamp_ms=net.now_ms)
    net.sites[1].host.engine.on_vertices([second], 70_000, net.now_ms)
    assert window.get(second.digest) is second
    listing = [v for site in net.sites for v in site.sent if tip.ref in v.tips]
    assert listing


def test_a_crowded_window_is_given_no_tips(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, listed in ((13, 1), (12, 1), (11, 0)):
        monkeypatch.setattr("cherrydag.consensus.engine.WINDOW", Limits(vertices=size))
        host = host_of()
        host.save(host.start())
        host.engine.set_issuer(issuer(1), 10, 5)
        rows = FORGE.rounds(1)
        host.give(rows[0][1:])
        host.give([FORGE.operator(1, rows[0][1:3])])
        assert len(host.engine.window) == 5
        host.give([FORGE.vertex(2, 1, rows[0][1:])])
        [own] = sent(host.save(host.engine.on_tick(START_MS + 999), START_MS + 999))
        assert len(own.tips) == listed


def test_what_falls_below_the_window_uncommitted_is_lost() -> None:
    host = host_of(None, params=ChainParams(gc_depth=5))
    effects = host.start()
    stray = FORGE.first(0)
    effects += host.give([stray])
    rows = FORGE.rounds(14, authors=(1, 2, 3))
    effects += host.give(flat(rows))
    assert of_type(effects, Lost) == [Lost((stray,))]


def test_a_vertex_ahead_of_the_clock_wakes_the_engine() -> None:
    host = host_of(None)
    host.start()
    early = FORGE.first(1, timestamp_ms=START_MS + 40)
    host.give([early])
    assert host.engine.wake_at_ms == START_MS + 40
    host.engine.on_tick(START_MS + 40)
    assert host.engine.window.get(early.digest) is early
    assert host.engine.wake_at_ms is None
