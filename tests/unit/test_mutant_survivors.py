"""Rules that no other test missed when they were broken; tools/mutants.py breaks them again."""

import pytest
from engine_nodes import seat_of, sends
from engines import ALWAYS, FOUR, SEED, START_MS, Forge, Host, Marks, MockSigner, Payloads, flat, of_type
from vertices import digest

from cherrydag.commit import CommitVote
from cherrydag.consensus.author import Identity
from cherrydag.consensus.effects import Broadcast, Persist
from cherrydag.consensus.engine import Engine
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.consensus.timing import Timing
from cherrydag.gossip import backlog
from cherrydag.gossip.fetcher import Fetcher
from cherrydag.gossip.messages import GetCommits, Push
from cherrydag.refs import VertexRef
from cherrydag.storage.memory import MemoryStore

FORGE = Forge()
SMALL = ChainParams(gc_depth=5)


def test_a_sign_mark_is_recorded_once_the_vertex_is_durable_and_before_it_leaves() -> None:
    marks = Marks()
    identity = Identity(0, MockSigner(0), marks, Payloads(ALWAYS))
    engine = Engine(FOUR, SMALL, Timing(), identity, MemoryStore(), SEED)
    effects = engine.start(START_MS)
    for peer in (1, 2, 3):
        effects += engine.on_newest((), peer, START_MS)
    [persist] = of_type(effects, Persist)
    assert [mark.round for mark in marks.marks] == [0]
    [sent] = of_type(engine.on_persisted(persist.ticket, START_MS), Broadcast)
    assert marks.load() == (1, sent.vertex.signing_digest(FOUR.chain))


def test_a_vertex_that_was_durable_but_not_marked_is_marked_before_it_is_sent_again() -> None:
    host = Host(0)
    host.save(host.start())
    host.marks.marks = host.marks.marks[:1]
    host.boot()
    effects = host.engine.start(START_MS)
    [sent] = of_type(effects, Broadcast)
    assert host.marks.load() == (1, sent.vertex.signing_digest(FOUR.chain))


def test_what_waits_for_a_parent_enters_when_the_chain_has_left_that_behind() -> None:
    host = Host(None, params=SMALL)
    host.start()
    rows = FORGE.rounds(8)
    for row in rows[:6]:
        host.give(row)
    nobodys = VertexRef(2, 0, digest("nobody's"))
    late = FORGE.vertex(7, 3, [nobodys, *rows[5][1:]])
    host.give([late])
    assert late.digest in host.engine.acceptance.pending
    before = [*rows[5]]
    for number in range(7, 12):
        before = [FORGE.vertex(number, author, before[:3]) for author in (0, 1, 2)]
        host.give(before)
        assert (host.engine.window.get(late.digest) is late) == (host.engine.chain.gc_round >= 2)
    assert 2 <= host.engine.chain.gc_round < 7


def test_peers_that_are_gone_are_none_of_those_that_are_asked_at_once() -> None:
    fetcher = Fetcher()
    fetcher.set_peers((1, 2, 3))
    fetcher.want([VertexRef(5, 0, digest("a"))], 1, 0)
    asked = [peer for now_ms in (0, 500) for peer, _ in fetcher.requests(now_ms)]
    assert len(set(asked)) == 2
    [left] = {1, 2, 3} - set(asked)
    fetcher.set_peers((left,))
    for peer in asked:
        fetcher.gone(peer, 600)
    assert [peer for now_ms in (1000, 1500) for peer, _ in fetcher.requests(now_ms)] == [left]


def test_no_commits_are_fetched_while_too_many_wait_for_their_execution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "UNEXECUTED_MAX", 5)
    seat = seat_of(None, 1, 2, 3, params=SMALL)
    on_executed = seat.node.on_executed
    monkeypatch.setattr(seat.node, "on_executed", lambda *_: [])
    rows = FORGE.rounds(12)
    for vertex in flat(rows):
        seat.say(vertex.author, Push(vertex))
    index = seat.node.engine.chain.index
    far = (CommitVote(1000, digest("far")),)
    ahead = [FORGE.vertex(13, author, rows[-1], commit_votes=far) for author in (1, 2, 3)]
    found = flat(seat.say(vertex.author, Push(vertex)) for vertex in ahead)
    assert seat.node.engine.is_behind
    assert sends(found, GetCommits) == []
    assert sends(on_executed(index - 6, None, START_MS), GetCommits) == []
    assert sends(on_executed(index - 5, None, START_MS), GetCommits)
