"""What an engine makes of commits: votes, checkpoints, certified commits."""

from typing import Any

import pytest
from engine_network import Network, network_of, prefix_equal
from engines import ALWAYS, START_MS, Forge, Host, MockSigner, Payloads, changed, flat, of_type
from vertices import CHAIN, EPOCH, digest

from cherrydag.commit import Checkpoint, CheckpointVote, CommitVote
from cherrydag.consensus.effects import (
    Broadcast,
    Certified,
    Diverged,
    Effect,
    Execute,
    Lost,
    Persist,
    SubDag,
)
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.errors import CherrydagError, InvariantViolation, ShapeError
from cherrydag.params import COMMIT_SYNC_LAG, COMMIT_VOTES_MAX
from cherrydag.vertex import ValidatorVertex

FORGE = Forge()
SMALL = ChainParams(gc_depth=5, scoring_commits=10, checkpoint_commits=4)


def host_of(me: int | None = 0, **settings: Any) -> Host:
    return Host(me, payloads=Payloads(ALWAYS), **settings)


def sent(effects: list[Effect]) -> list[ValidatorVertex]:
    return [effect.vertex for effect in of_type(effects, Broadcast)]


def sub_dags(effects: list[Effect]) -> list[SubDag]:
    return [effect.sub_dag for effect in of_type(effects, Execute)]


def chain_of(last: int, authors: tuple[int, ...] = (0, 1, 2, 3)) -> list[SubDag]:
    """The commits that an observer makes of rounds 1..last."""
    host = host_of(None, params=SMALL)
    effects = host.save(host.start())
    for row in FORGE.rounds(last, authors):
        effects += host.save(host.give(row))
    return sub_dags(effects)


# Commit votes


def test_every_commit_is_voted_for_once_in_order() -> None:
    net = network_of(4, params=SMALL).start()
    net.run(1500)
    for number, site in enumerate(net.sites):
        votes = [vote for vertex in site.sent for vote in vertex.commit_votes]
        assert [vote.commit_index for vote in votes] == list(range(1, len(votes) + 1))
        assert [vote.digest for vote in votes] == net.chains()[number][: len(votes)]
        assert len(votes) > 15


def test_a_vertex_votes_for_so_many_commits_and_no_more() -> None:
    host = host_of(params=ChainParams())
    effects = host.save(host.start(answered=False))
    for row in FORGE.rounds(300, authors=(1, 2, 3)):
        effects += host.save(host.give(row))
    lacking = host.engine.chain.index
    assert lacking > COMMIT_VOTES_MAX + 50
    for peer in (1, 2):
        effects += host.save(host.engine.on_newest((), peer, START_MS))
    votes = [vertex.commit_votes for vertex in sent(effects)]
    assert list(map(len, votes[:1])) == [COMMIT_VOTES_MAX]
    assert [vote.commit_index for vote in flat(votes)] == list(range(1, len(flat(votes)) + 1))
    assert all(len(listed) <= COMMIT_VOTES_MAX for listed in votes)


def test_votes_count_though_their_vertex_is_parked() -> None:
    host = host_of(None)
    host.start()
    rows = FORGE.rounds(2)
    for author in (1, 2, 3):
        vote = CommitVote(COMMIT_SYNC_LAG, digest(7))
        host.give([FORGE.vertex(2, author, rows[0], commit_votes=(vote,))])
    assert len(host.engine.window) == 0
    assert host.engine.commit_votes.committed_index == COMMIT_SYNC_LAG
    assert host.engine.is_behind


@pytest.mark.parametrize(("index", "behind"), [(-1, False), (0, True), (1, True)])
def test_some_commits_behind_a_quorum_is_behind(index: int, behind: bool) -> None:
    host = host_of(None)
    host.start()
    for author in (1, 2, 3):
        host.give([FORGE.first(author, commit_votes=(CommitVote(COMMIT_SYNC_LAG + index, digest(7)),))])
    assert host.engine.is_behind == behind


# Checkpoints


def checkpoint_vote(author: int, sub_dag: SubDag, root: bytes) -> CheckpointVote:
    commit = sub_dag.commit
    signed = Checkpoint(CHAIN.genesis_digest, EPOCH, commit.index, commit.digest, root)
    signature = MockSigner(author).sign(signed.signing_digest(CHAIN))
    return CheckpointVote(commit.index, commit.digest, root, signature)


def certify(host: Host, sub_dag: SubDag, root: bytes) -> list[Effect]:
    effects = []
    for author in (1, 2, 3):
        vote = checkpoint_vote(author, sub_dag, root)
        effects += host.give([FORGE.first(author, variant=9, checkpoint=vote)])
    return effects


def following(host: Host, last: int = 12) -> list[SubDag]:
    effects = host.save(host.start())
    for row in FORGE.rounds(last, authors=(1, 2, 3)):
        effects += host.save(host.give(row))
    return sub_dags(effects)


def test_our_next_vertex_signs_the_state_after_a_checkpoint() -> None:
    host = host_of(params=SMALL)
    executed = following(host)
    assert host.engine.on_executed(3, digest("root", 3)) == []
    assert host.engine.on_executed(4, digest("root", 4)) == []
    effects = host.save(host.engine.on_tick(START_MS + 999), START_MS + 999)
    effects += host.save(host.give(FORGE.rounds(13, authors=(1, 2, 3))[-1], START_MS + 999), START_MS + 999)
    effects += host.save(host.engine.on_tick(START_MS + 1999), START_MS + 1999)
    votes = [v.checkpoint for v in sent(effects) if v.checkpoint is not None]
    votes = list(dict.fromkeys(votes))  # unheard, the vertex is sent once more
    assert votes == [checkpoint_vote(0, executed[3], digest("root", 4))]


def test_a_certificate_is_told_once() -> None:
    host = host_of(None, params=SMALL)
    executed = following(host)
    [certified] = of_type(certify(host, executed[3], digest("root")), Certified)
    assert certified.certificate.checkpoint.index == 4
    assert [s.author for s in certified.certificate.signatures] == [1, 2, 3]
    assert certify(host, executed[3], digest("root")) == []
    assert host.engine.on_executed(4, digest("root")) == []
    assert not host.engine.is_halted


@pytest.mark.parametrize("executed_first", [True, False])
def test_who_diverges_signs_nothing_more_and_says_so_once(executed_first: bool) -> None:
    host = host_of(params=SMALL)
    executed = following(host)
    steps = [
        lambda: host.engine.on_executed(4, digest("mine")),
        lambda: certify(host, executed[3], digest("theirs")),
    ]
    effects = [effect for step in (steps if executed_first else steps[::-1]) for effect in step()]
    [diverged] = of_type(effects, Diverged)
    assert diverged.own.state_root == digest("mine")
    assert diverged.certificate.checkpoint.state_root == digest("theirs")
    assert host.engine.is_halted
    marks = len(host.marks.marks)
    for number in range(1, 30):
        now_ms = START_MS + 1000 * number
        effects = host.save(host.give(FORGE.rounds(12 + number, authors=(1, 2, 3))[-1], now_ms), now_ms)
        effects += host.engine.on_executed(8, digest("mine"))
        effects += host.save(host.engine.on_tick(now_ms), now_ms)
        assert of_type(effects, Diverged) == []
    assert len(host.marks.marks) == marks
    assert host.engine.chain.index > 20


def test_a_halted_validator_wakes_for_no_proposal() -> None:
    host = host_of(params=ChainParams(checkpoint_commits=1))
    executed = following(host, 4)
    wake_ms = host.engine.wake_at_ms
    assert wake_ms is not None
    assert wake_ms <= START_MS + 200
    host.engine.on_executed(1, digest("mine"))
    certify(host, executed[0], digest("theirs"))
    for _ in range(3):
        assert host.engine.on_tick(wake_ms) == []
        assert host.engine.wake_at_ms is None or host.engine.wake_at_ms > wake_ms


# Certified commits


def test_certified_commits_give_the_chain_that_local_decisions_give() -> None:
    chain = chain_of(40)
    assert len(chain) > 30
    host = host_of(None, params=SMALL)
    effects = host.save(host.start())
    for sub_dag in chain[:-3]:
        effects += host.save(host.engine.on_certified(sub_dag.commit, sub_dag.vertices, START_MS))
    assert sub_dags(effects) == chain[:-3]
    assert host.engine.clock_round == chain[-4].commit.leader.round
    for row in FORGE.rounds(40)[30:]:
        effects += host.save(host.give(row))
    assert sub_dags(effects) == chain


def test_certified_and_local_commits_mix() -> None:
    chain = chain_of(40)
    host = host_of(None, params=SMALL)
    effects = host.save(host.start())
    for number, row in enumerate(FORGE.rounds(40), 1):
        effects += host.save(host.give(row[:3] if number % 7 else row))
        if number % 10 == 0:
            for sub_dag in chain[max(0, number - 14) : number]:
                effects += host.save(host.engine.on_certified(sub_dag.commit, sub_dag.vertices, START_MS))
    done = sub_dags(effects)
    assert done == chain[: len(done)]
    assert len(done) >= len(chain) - 1


def test_vertices_of_a_certified_commit_are_written_with_it_once() -> None:
    chain = chain_of(20)
    host = host_of(None, params=SMALL)
    host.save(host.start())
    host.give(FORGE.rounds(1)[0][1:3])
    writes = []
    for sub_dag in chain:
        effects = host.engine.on_certified(sub_dag.commit, sub_dag.vertices, START_MS)
        writes += of_type(effects, Persist)
    written = [vertex.ref for persist in writes for vertex in persist.vertices]
    assert len(set(written)) == len(written)
    assert set(written) == {ref for sub_dag in chain for ref in sub_dag.commit.vertices} | {
        vertex.ref for vertex in FORGE.rounds(1)[0][1:3]
    }


def test_a_certified_commit_that_is_here_already_changes_nothing() -> None:
    chain = chain_of(20)
    host = host_of(None, params=SMALL)
    executed = following(host, 5)
    assert executed
    assert host.engine.on_certified(chain[0].commit, chain[0].vertices, START_MS) == []


def test_a_commit_that_is_not_the_next_is_our_bug() -> None:
    chain = chain_of(20)
    host = host_of(None, params=SMALL)
    host.start()
    for wrong in (chain[1], chain[9]):
        with pytest.raises(CherrydagError):
            host.engine.on_certified(wrong.commit, wrong.vertices, START_MS)
    with pytest.raises(ShapeError, match="expected epoch"):
        host.engine.on_certified(chain[1].commit, (), START_MS)


def test_a_certified_commit_that_is_not_what_its_leaders_past_gives_stops_the_node() -> None:
    chain = chain_of(20)
    host = host_of(None, params=SMALL)
    host.start()
    forged = chain[0].commit.__class__(
        chain[0].commit.epoch, 1, chain[0].commit.prev_digest, 12345, chain[0].commit.vertices
    )
    with pytest.raises(InvariantViolation, match="a certified commit is what"):
        host.engine.on_certified(forged, chain[0].vertices, START_MS)


def test_what_was_parked_for_a_certified_vertex_enters_with_it() -> None:
    chain = chain_of(20)
    host = host_of(None, params=SMALL)
    host.start()
    rows = FORGE.rounds(6)
    host.give(flat(rows[2:]))
    assert len(host.engine.window) == 0
    for sub_dag in chain[:3]:
        host.engine.on_certified(sub_dag.commit, sub_dag.vertices, START_MS)
    assert len(host.engine.acceptance.pending) < 16
    refs = {ref for sub_dag in chain[:3] for ref in sub_dag.commit.vertices}
    host.give([v for v in flat(rows[:2]) if v.ref not in refs])
    assert all(host.engine.window.get(v.digest) or v.round <= host.engine.chain.gc_round for v in flat(rows))


def test_a_validator_goes_on_from_certified_commits() -> None:
    chain = chain_of(30, authors=(1, 2, 3))
    host = host_of(params=SMALL)
    effects = host.save(host.start())
    for sub_dag in chain:
        effects += host.save(host.engine.on_certified(sub_dag.commit, sub_dag.vertices, START_MS))
    assert [vertex.round for vertex in sent(effects)] == [1]
    for row in FORGE.rounds(31, authors=(1, 2, 3))[26:]:
        effects += host.save(host.give(row))
    rounds = [vertex.round for vertex in sent(effects)]
    assert rounds == sorted(set(rounds))
    assert rounds[1] > chain[-1].commit.leader.round
    assert rounds[-1] == 31
    votes = [vote.commit_index for vertex in sent(effects) for vote in vertex.commit_votes]
    assert votes == list(range(1, len(votes) + 1))
    assert len(votes) >= len(chain)


def test_lost_vertices_of_a_certified_commit_are_told() -> None:
    chain = chain_of(30)
    host = host_of(None, params=SMALL)
    effects = host.start()
    stray = FORGE.first(2, variant=4)
    effects += host.give([stray])
    for sub_dag in chain:
        effects += host.engine.on_certified(sub_dag.commit, sub_dag.vertices, START_MS)
    assert stray in [vertex for lost in of_type(effects, Lost) for vertex in lost.vertices]


def test_networks_with_different_patience_make_one_chain() -> None:
    hosts = [
        Host(
            me, params=SMALL, timing=changed(min_round_delay_ms=30 + 10 * me, leader_timeout_ms=100 + 50 * me)
        )
        for me in range(4)
    ]
    for host in hosts:
        host.payloads.left = ALWAYS
    net = Network(hosts, delay_ms=25).start()
    net.run(3000)
    assert prefix_equal(net.chains())
    assert min(map(len, net.chains())) > 20
