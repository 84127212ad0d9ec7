"""What a node knows after a restart, and what a validator must recall before it signs again."""

import random
from dataclasses import dataclass
from typing import Any

import pytest
from engine_network import network_of, prefix_equal
from engines import ALWAYS, FOUR, START_MS, Forge, Host, Marks, Payloads, changed, flat, of_type, rules_of
from vertices import digest

from cherrydag.consensus.effects import AskNewest, Broadcast, Effect, Execute, Persist
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.ports import SignMark
from cherrydag.consensus.recollection import Recollection
from cherrydag.consensus.recovery import load
from cherrydag.errors import ConfigError, InvariantViolation
from cherrydag.storage.memory import MemoryStore
from cherrydag.vertex import ValidatorVertex

FORGE = Forge()
SMALL = ChainParams(gc_depth=5, scoring_commits=10, checkpoint_commits=7)
OTHERS = FORGE.rounds(30, authors=(1, 2, 3))


def host_of(me: int | None = 0, **settings: Any) -> Host:
    return Host(me, payloads=Payloads(ALWAYS), **settings)


def sent(effects: list[Effect]) -> list[ValidatorVertex]:
    return [effect.vertex for effect in of_type(effects, Broadcast)]


def executed(effects: list[Effect]) -> list[int]:
    return [effect.sub_dag.commit.index for effect in of_type(effects, Execute)]


def stored(rounds: int) -> MemoryStore:
    """What an observer has written of rounds 1..rounds."""
    host = host_of(None, params=SMALL)
    host.save(host.start())
    for row in OTHERS[:rounds]:
        host.save(host.give(row))
    return host.store


# Reading the log


def test_an_empty_store_is_the_start() -> None:
    found = load(MemoryStore(), SMALL, 0)
    assert (found.last, found.swaps, found.vertices) == (None, None, ())


def test_before_the_first_commit_all_vertices_are_read() -> None:
    store = MemoryStore()
    vertices = tuple(flat(OTHERS[:2]))
    store.write(Persist(1, vertices, (), ()))
    assert load(store, SMALL, 0).vertices == vertices


def test_what_is_read_reaches_as_far_back_as_it_is_needed() -> None:
    store = stored(30)
    last = store.last_commit()
    found = load(store, SMALL, last.index - 2)
    gc_round = SMALL.gc_round(last.leader.round)
    assert found.last == last
    assert found.swaps.commit_index == last.index - last.index % 10
    assert [s.commit.index for s in found.period] == list(range(found.swaps.commit_index + 1, last.index + 1))
    assert [s.commit.index for s in found.unexecuted] == [last.index - 1, last.index]
    assert found.held[-1] == last
    assert found.held[0].leader.round <= gc_round or found.held[0].index == 1
    assert [c.index for c in found.held] == list(range(found.held[0].index, last.index + 1))
    assert min(vertex.round for vertex in found.vertices) == gc_round + 1
    for sub_dag in found.period:
        assert tuple(vertex.ref for vertex in sub_dag.vertices) == sub_dag.commit.vertices


def test_commits_are_read_back_beyond_one_batch() -> None:
    host = host_of(None, params=ChainParams(gc_depth=200))
    host.save(host.start())
    for row in FORGE.rounds(180, authors=(1, 2, 3)):
        host.save(host.give(row))
    assert host.engine.chain.index > 120
    held = load(host.store, ChainParams(gc_depth=200), 0).held
    assert [commit.index for commit in held] == list(range(1, host.engine.chain.index + 1))
    last = host.store.last_commit()
    for gc_depth in range(100, 170):
        held = load(host.store, ChainParams(gc_depth=gc_depth), last.index).held
        assert held[-1] == last
        assert held[0].index == 1 or held[0].leader.round <= last.leader.round - gc_depth


def test_a_commit_whose_vertices_are_gone_stops_the_node() -> None:
    @dataclass
    class Holed:
        inner: MemoryStore

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def vertices(self, refs: Any) -> list[Any]:
            return [None, *self.inner.vertices(refs)[1:]]

    with pytest.raises(InvariantViolation, match="a stored commit has its vertices"):
        load(Holed(stored(12)), SMALL, 0)


# Restart


def test_a_restart_stands_where_the_store_left_off() -> None:
    host = host_of(None, params=SMALL)
    done = executed(host.save(host.start()))
    for row in OTHERS[:20]:
        done += executed(host.save(host.give(row)))
    before = host.engine
    host.store = host.store.crash()
    host.boot()
    assert executed(host.start(executed=done[-1] - 3)) == done[-3:]
    after = host.engine
    assert (after.chain.index, after.chain.digest) == (before.chain.index, before.chain.digest)
    assert after.chain.swaps == before.chain.swaps
    assert after.chain.gc_round == before.chain.gc_round
    for row in OTHERS[19:]:
        host.save(host.give(row))
    reference = stored(30)
    assert host.store.last_commit() == reference.last_commit()


def test_a_restart_after_any_write_gives_the_same_chain() -> None:
    """Whatever beginning of the writes the disk has kept."""
    reference = stored(26).commits(1, 99)
    host = host_of(None, params=SMALL)
    writes = of_type(host.start(), Persist)
    for row in OTHERS[:26]:
        for vertex in row:
            writes += of_type(host.give([vertex]), Persist)
    assert len(writes) > 12
    for kept in range(len(writes) + 1):
        again = host_of(None, params=SMALL)
        for persist in writes:
            again.store.write(persist)
        again.store = again.store.crash(keep=kept)
        again.boot()
        indices = executed(again.save(again.start()))
        for row in OTHERS[max(0, again.engine.chain.gc_round) : 26]:
            indices += executed(again.save(again.give(row)))
        assert indices == list(range(1, len(reference) + 1))
        assert again.store.commits(1, 99) == reference


@pytest.mark.parametrize("seed", range(3))
def test_crashes_at_any_moment_fork_nothing_and_sign_nothing_twice(seed: int) -> None:
    rng = random.Random(seed)
    net = network_of(4, params=SMALL, sync_ms=8).start()
    for _ in range(25):
        net.run(rng.randint(30, 150))
        victim = rng.randrange(4)
        site = net.sites[victim]
        index = site.executed[-1][0] if site.executed else 0
        net.crash(victim, keep=rng.randint(0, 4), executed=max(0, index - rng.randint(0, 3)))
        net.run(rng.randint(0, 120))
        net.boot(victim)
    net.run(1500)
    assert prefix_equal(net.chains())
    assert min(map(len, net.chains())) > 25
    slots = [(vertex.round, vertex.author) for site in net.sites for vertex in site.sent]
    assert len(set(slots)) == len(slots)
    for number, site in enumerate(net.sites):
        votes = {vote for vertex in site.sent for vote in vertex.commit_votes}
        assert sorted(vote.commit_index for vote in votes) == list(range(1, len(votes) + 1))
        assert len(votes) > len(net.chains()[number]) - 12


def test_a_crash_of_all_at_once_loses_nothing_that_was_executed() -> None:
    net = network_of(4, params=SMALL, sync_ms=5).start()
    net.run(700)
    before = net.chains()
    for number in range(4):
        net.crash(number)
    for number in range(4):
        net.boot(number)
    net.run(3000)
    assert prefix_equal([*net.chains(), *before])
    assert min(map(len, net.chains())) > max(map(len, before)) + 15


def test_only_commits_that_no_vertex_of_ours_has_voted_for_are_voted_for_after_a_restart() -> None:
    host = host_of(params=SMALL)
    effects = host.save(host.start())
    for number in range(5):
        effects += host.save(host.give(OTHERS[number]))
    voted = [vote.commit_index for vertex in sent(effects) for vote in vertex.commit_votes]
    assert voted
    host.store = host.store.crash()
    host.boot()
    effects = host.save(host.start(executed=host.store.last_commit().index))
    for number in range(4, 8):
        effects += host.save(host.give(OTHERS[number]))
    again = [v.commit_index for vertex in sent(effects)[1:] for v in vertex.commit_votes]
    assert again == list(range(voted[-1] + 1, voted[-1] + 1 + len(again)))
    assert again


def test_our_last_vertex_is_sent_again_at_a_restart_if_it_is_durable() -> None:
    for keep, count in ((0, 0), (1, 1)):
        host = host_of()
        [persist] = of_type(host.start(), Persist)
        host.store.write(persist)
        host.store = host.store.crash(keep=keep)
        host.boot()
        assert sent(host.engine.start(START_MS)) == list(persist.vertices[:count])


# Amnesia


def test_nothing_is_proposed_before_a_quorum_has_answered() -> None:
    host = host_of()
    assert host.engine.start(START_MS) == [AskNewest()]
    assert not host.engine.is_recovered
    assert of_type(host.give(flat(OTHERS[:3])), Persist, Broadcast) == of_type([], Persist)
    assert host.engine.on_newest((), 1, START_MS) == []
    assert host.engine.on_newest((), 1, START_MS) == []
    assert host.engine.on_newest((), 70_000, START_MS) == []
    assert host.engine.on_tick(START_MS + 900) == []
    assert [mark.round for mark in host.marks.marks] == [0]
    effects = host.engine.on_newest((), 2, START_MS + 900)
    assert host.engine.is_recovered
    assert [persist.vertices[-1].author for persist in of_type(effects, Persist)] == [0]


def test_a_solo_validator_asks_nobody() -> None:
    host = host_of(rules=rules_of([7]))
    assert of_type(host.engine.start(START_MS), AskNewest) == []
    assert host.engine.is_recovered


def test_it_asks_again_until_a_quorum_has_answered() -> None:
    host = host_of(timing=changed(newest_ms=300))
    host.engine.start(START_MS)
    assert host.engine.wake_at_ms == START_MS + 300
    assert host.engine.on_tick(START_MS + 299) == []
    assert host.engine.on_tick(START_MS + 300) == [AskNewest()]
    assert host.engine.wake_at_ms == START_MS + 600
    for peer in (1, 2):
        host.engine.on_newest((), peer, START_MS + 400)
    assert of_type(host.engine.on_tick(START_MS + 600), AskNewest) == []


def test_an_observer_asks_nobody_and_answers_change_nothing() -> None:
    host = host_of(None)
    assert host.engine.start(START_MS) == []
    assert host.engine.on_newest((), 1, START_MS) == []


def test_the_sign_mark_is_a_floor() -> None:
    host = host_of(marks=Marks([SignMark(4, digest("mark"))]))
    effects = host.save(host.start())
    for row in OTHERS[:2]:
        effects += host.save(host.give(row))
    assert sent(effects) == []
    for row in OTHERS[2:5]:
        effects += host.save(host.give(row))
    assert [vertex.round for vertex in sent(effects)] == [5]


def test_a_vertex_of_ours_that_a_peer_answers_with_is_a_floor() -> None:
    host = host_of()
    lost = FORGE.vertex(3, 0, OTHERS[1])
    host.engine.start(START_MS)
    effects = host.engine.on_newest((lost,), 3, START_MS)
    effects += host.engine.on_newest((), 1, START_MS)
    for row in OTHERS[:4]:
        effects += host.save(host.give(row))
    assert [vertex.round for vertex in sent(effects)] == [4]


def test_a_vertex_of_ours_that_comes_by_itself_is_a_floor() -> None:
    host = host_of()
    lost = FORGE.vertex(2, 0, [FORGE.first(0, variant=1), *OTHERS[0]])
    host.start(answered=False)
    host.give([*OTHERS[0], FORGE.first(0, variant=1), lost, *OTHERS[1]])
    effects = []
    for peer in (1, 2):
        effects += host.save(host.engine.on_newest((), peer, START_MS))
    effects += host.save(host.engine.on_tick(START_MS + 999), START_MS + 999)
    [own] = sent(effects)
    assert (own.round, own.ancestors[0]) == (3, lost.ref)


def test_an_own_vertex_that_is_parked_raises_the_floor() -> None:
    host = host_of()
    host.start(answered=False)
    missing = FORGE.first(0, variant=1)
    host.give([*flat(OTHERS[:2]), FORGE.vertex(2, 0, [missing, *OTHERS[0]])])
    assert len(host.engine.acceptance.pending) == 1
    effects = []
    for peer in (1, 2):
        effects += host.save(host.engine.on_newest((), peer, START_MS))
    assert [vertex.round for vertex in sent(effects) if vertex.round <= 2] == []


def test_a_late_answer_still_raises_the_floor() -> None:
    host = host_of()
    host.start(answered=False)
    for peer in (1, 2):
        host.save(host.engine.on_newest((), peer, START_MS))
    effects = host.save(host.engine.on_newest((FORGE.vertex(3, 0, OTHERS[1]),), 3, START_MS))
    for row in OTHERS[:4]:
        effects += host.save(host.give(row))
    assert [vertex.round for vertex in sent(effects) if 1 < vertex.round <= 3] == []


def test_without_sign_state_but_with_own_vertices_a_validator_does_not_start() -> None:
    host = host_of()
    host.save(host.start())
    host.marks = Marks()
    host.boot()
    with pytest.raises(ConfigError, match="sign state: none, but the store holds our vertex of round 1"):
        host.engine.start(START_MS)


def test_a_twin_of_ours_in_the_network_is_never_joined_in_its_slots() -> None:
    """Our store and sign state are gone, and with them that anything was signed."""
    net = network_of(4, params=SMALL).start()
    net.run(600)
    before = {vertex.round for vertex in net.sites[2].sent}
    net.crash(2)
    site = net.sites[2]
    site.host.store, site.host.marks, site.executed, site.durable = MemoryStore(), Marks(), [], {}
    site.durable_index = 0
    site.sent = []
    site.host.boot()
    net.run(30)
    net.boot(2)
    net.run(2500)
    after = [vertex.round for vertex in site.sent if vertex.round not in before]
    assert len(after) > 10
    assert {vertex.round for vertex in site.sent}.isdisjoint(before)
    assert prefix_equal(net.chains())


def recollection(marks: Marks, own_round: int = 0, *, lost: bool = False, margin: int = 60) -> Recollection:
    past = Recollection(FOUR.committee, 0, 1000, margin)
    past.begin(marks, own_round, has_lost_sign_state=lost)
    return past


def test_the_floor_is_the_highest_of_mark_store_and_answers() -> None:
    mark = Marks([SignMark(7, digest("mark"))])
    assert recollection(mark, 5).floor == 7
    assert recollection(mark, 9).floor == 9
    past = recollection(mark)
    for source, known, floor in ((1, 6, 7), (2, 8, 8), (3, 12, 12), (3, 4, 12)):
        past.answered(source, known, 50)
        assert past.floor == floor
    assert past.is_complete


def test_with_the_sign_state_declared_lost_a_margin_above_all_that_is_known_is_left_out() -> None:
    past = recollection(Marks(), 5, lost=True)
    past.answered(1, 6, 50)
    assert (past.is_complete, past.floor) == (False, 6)
    past.answered(2, 8, 50)
    assert (past.is_complete, past.floor) == (True, 50 + 60)
    past.answered(3, 200, 55)
    assert past.floor == 200
    past = recollection(Marks(), 5, lost=True)
    past.answered(1, 80, 50)
    past.answered(2, 8, 50)
    assert past.floor == 80 + 60


def test_a_mark_that_is_there_needs_no_margin() -> None:
    past = recollection(Marks([SignMark(7, digest("mark"))]), lost=True)
    for source in (1, 2):
        past.answered(source, 0, 50)
    assert past.floor == 7


# Power cuts


@pytest.mark.parametrize("after_ms", range(100, 130, 2))
def test_after_a_power_cut_of_all_the_chain_goes_on(after_ms: int) -> None:
    """Whoever has signed a vertex and not written it may sign another one: nobody has seen the first."""
    net = network_of(4, params=SMALL).start()
    net.run(after_ms)
    before = max(len(chain) for chain in net.chains())
    for number in range(4):
        net.crash(number)
    net.run(20)
    for number in range(4):
        net.boot(number)
    net.run(3000)
    assert min(len(chain) for chain in net.chains()) > before + 5
    assert prefix_equal(net.chains())


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_solo_chain_goes_on_after_a_crash_between_signing_and_writing(written: int) -> None:
    host = Host(0, rules=rules_of([7]), payloads=Payloads(30))
    effects = host.engine.start(START_MS)
    for _ in range(written):
        [*_, persist] = of_type(effects, Persist)
        host.store.write(persist)
        host.store.sync()
        effects = host.engine.on_persisted(persist.ticket, START_MS)
    assert of_type(effects, Persist)
    host.store = host.store.crash(0)
    host.payloads = Payloads(5)
    host.boot()
    effects = host.save(host.engine.start(START_MS + 1))
    assert len(of_type(effects, Execute)) >= 2
    assert host.payloads.left == 0
