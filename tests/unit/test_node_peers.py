"""Two nodes end to end, and a node among peers that say anything."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from engine_nodes import Seat, seat_of, sends
from engines import FOUR, START_MS, Forge, flat, issuer, of_type
from hypothesis import given, settings
from hypothesis import strategies as st
from vertices import digest

from cherrydag.commit import Commit, CommitVote
from cherrydag.consensus.effects import Broadcast, Execute
from cherrydag.consensus.main_chain import ChainParams
from cherrydag.gossip import backlog
from cherrydag.gossip.effects import Penalise, Send
from cherrydag.gossip.messages import (
    Commits,
    GetCommits,
    GetNewest,
    GetVertices,
    Message,
    Newest,
    Push,
    Vertices,
)
from cherrydag.refs import OperatorRef, VertexRef
from cherrydag.verify import VertexFault
from cherrydag.vertex import ValidatorVertex, Vertex

FORGE = Forge()
SMALL = ChainParams(gc_depth=20, scoring_commits=50)
ROUNDS = 260


@cache
def voting_chain(authors: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[list[list[ValidatorVertex]], list[Commit]]:
    """Rounds whose vertices vote for the commits that the rounds before have made, and these commits."""
    seat = seat_of(None, params=SMALL)
    before: list[Any] = FORGE.genesis
    rows, commits, told = [], [], 0
    for number in range(1, ROUNDS + 1):
        votes = tuple(CommitVote(commit.index, commit.digest) for commit in commits[told:])
        told = len(commits)
        row = [FORGE.vertex(number, author, before, commit_votes=votes) for author in authors]
        for vertex in row:
            found = seat.say(vertex.author, Push(vertex))
            commits += [effect.sub_dag.commit for effect in of_type(found, Execute)]
        rows.append(row)
        before = row
    return rows, commits


def server_of(rows: list[list[ValidatorVertex]]) -> Seat:
    seat = seat_of(None, params=SMALL)
    for vertex in flat(rows):
        seat.say(vertex.author, Push(vertex))
    return seat


def converse(client: Seat, server: Seat, effects: list[Any], most: int = 400) -> list[Any]:
    """All that the client asks of anybody is answered by the server; the client's effects."""
    done = list(effects)
    for _ in range(most):
        asked = [(e.peer, e.message) for e in of_type(effects, Send) if not isinstance(e.message, GetNewest)]
        effects = []
        for peer, message in asked:
            for reply in of_type(server.say(0, message), Send):
                effects += client.say(peer, reply.message)
        if not asked:
            if client.node.wake_at_ms is None or client.node.wake_at_ms > client.now_ms + 500:
                break
            effects = client.tick(max(0, client.node.wake_at_ms - client.now_ms))
        done += effects
    return done


def executed(effects: list[Any]) -> list[bytes]:
    return [effect.sub_dag.commit.digest for effect in of_type(effects, Execute)]


def test_who_is_two_hundred_and_fifty_commits_behind_catches_up_by_certified_commits() -> None:
    rows, commits = voting_chain()
    server = server_of(rows)
    client = seat_of(None, 1, 2, 3, params=SMALL)
    effects = flat(client.say(author, Push(rows[-1][author])) for author in (1, 2, 3))
    assert client.node.engine.is_behind
    assert sends(effects, GetCommits)
    done = executed(effects + converse(client, server, effects))
    assert len(done) > 250
    assert done == [commit.digest for commit in commits][: len(done)]
    assert not client.node.engine.is_behind
    assert of_type(client.done, Penalise) == []
    assert client.store.commits(1, 999) == commits[: client.node.engine.chain.index]


@pytest.mark.parametrize(
    ("bound", "most", "waiting"), [("UNEXECUTED_MAX", 20, 21), ("UNEXECUTED_BYTES_MAX", 30_000, None)]
)
def test_complete_commits_leave_as_execution_makes_room(
    bound: str, most: int, waiting: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, bound, most)
    rows, commits = voting_chain()
    client = seat_of(None, 1, 2, 3, params=SMALL)
    on_executed = client.node.on_executed
    monkeypatch.setattr(client.node, "on_executed", lambda *_: [])
    sync, server = client.node.commit_sync, server_of(rows)
    assert sync is not None
    effects = flat(client.say(author, Push(rows[-1][author])) for author in (1, 2, 3))
    while asked := [e for e in of_type(effects, Send) if sync.expects(e.peer, e.message.number)]:
        replies = [(e.peer, reply) for e in asked for reply in of_type(server.say(0, e.message), Send)]
        effects = flat(client.say(peer, reply.message) for peer, reply in replies)
    chain = client.node.engine.chain
    held = chain.index
    assert held == waiting or (waiting is None and 1 < held < 30)
    assert sync.held_bytes > 0
    # From here on nobody says anything.
    for index in range(1, 60):
        client.perform(on_executed(index, None, client.now_ms))
    assert held + 50 < chain.index < 100
    assert executed(client.done) == [commit.digest for commit in commits][: chain.index]


def test_a_validator_that_was_away_follows_and_then_takes_part_above_what_is_committed() -> None:
    rows, commits = voting_chain((1, 2, 3))
    server = server_of(rows)
    client = seat_of(0, 1, 2, 3, params=SMALL)
    for peer, ask in sends(client.done, GetNewest):
        client.say(peer, Newest(ask.number, 0, ()))
    effects = flat(client.say(vertex.author, Push(vertex)) for vertex in rows[-1])
    effects += converse(client, server, effects)
    for row in rows[-25:]:
        for vertex in row:
            effects += converse(client, server, client.say(vertex.author, Push(vertex)))
    assert executed(client.done) == [commit.digest for commit in commits][: len(executed(client.done))]
    assert len(executed(client.done)) >= len(commits) - 2
    rounds = [broadcast.vertex.round for broadcast in of_type(client.done, Broadcast)]
    assert rounds[0] == 1
    assert rounds[1] > ROUNDS - 30
    assert rounds == sorted(set(rounds))
    votes = [v.commit_index for b in of_type(client.done, Broadcast) for v in b.vertex.commit_votes]
    assert votes == list(range(1, len(votes) + 1))


def test_a_restarted_server_certifies_what_it_has_stored() -> None:
    rows, commits = voting_chain()
    server = server_of(rows)
    again = Seat(None, params=SMALL, store=server.store.crash()).start(0)
    [(_, answer)] = sends(again.say(0, GetCommits(1, 101, 200)), Commits)
    assert answer.commits == tuple(commits[100:200])
    assert len(answer.votes) == FOUR.committee.validity


def test_one_that_lies_about_commits_is_penalised_and_the_others_are_asked() -> None:
    rows, commits = voting_chain()
    server = server_of(rows)
    client = seat_of(None, 1, 2, 3, params=SMALL)
    effects = flat(client.say(author, Push(rows[-1][author])) for author in (1, 2, 3))
    liar, ask = sends(effects, GetCommits)[0]
    lie = Commits(ask.number, tuple(commits[: ask.last - ask.first]), ())
    effects = [e for e in effects if not (isinstance(e, Send) and e.message == ask)] + client.say(liar, lie)
    assert [effect.peer for effect in of_type(effects, Penalise)] == [liar]
    effects += converse(client, server, effects)
    assert len(executed(client.done)) > 250


def test_commits_that_are_certified_by_an_invalid_vote_are_not_applied() -> None:
    rows, _ = voting_chain()
    server = server_of(rows)
    client = seat_of(None, 1, 2, 3, params=SMALL)
    effects = flat(client.say(author, Push(rows[-1][author])) for author in (1, 2, 3))
    peer, ask = sends(effects, GetCommits)[0]
    [answer] = [e.message for e in of_type(server.say(0, ask), Send)]
    forged = tuple(replace(vertex, signature=b"\xff" * 64) for vertex in answer.votes[:1])
    effects = client.say(peer, replace(answer, votes=forged + answer.votes[1:]))
    assert [effect.code for effect in of_type(effects, Penalise)] == [VertexFault.SIGNATURE]
    assert sends(effects, GetVertices) == []


def test_sync_begins_after_our_own_commits() -> None:
    rows, commits = voting_chain()
    client = seat_of(None, 1, 2, 3, params=SMALL)
    for vertex in flat(rows[:120]):
        client.say(vertex.author, Push(vertex))
    index = client.node.engine.chain.index
    assert index > 110
    effects = flat(client.say(author, Push(rows[-1][author])) for author in (1, 2, 3))
    assert min(ask.first for _, ask in sends(effects, GetCommits)) == index + 1
    effects += converse(client, server_of(rows), effects)
    assert executed(client.done) == [commit.digest for commit in commits][: len(executed(client.done))]
    assert len(executed(client.done)) > 250


# Anything


ROWS = FORGE.rounds(5)
OPERATORS = [FORGE.operator(key, ROWS[1][key : key + 2]) for key in range(3)]
OPERATORS += [FORGE.operator(0, [OPERATORS[0], ROWS[2][1]], seq=1), FORGE.operator(1, ROWS[1][:2], variant=3)]
TWINS = [FORGE.vertex(v.round, v.author, v.ancestors, variant=5) for row in ROWS[:3] for v in row[2:]]
STRANGE = [
    FORGE.first(2, variant=0xFF),
    FORGE.first(2, variant=0xFE),
    FORGE.vertex(700, 1, [vertex.ref._replace(round=699) for vertex in ROWS[0][1:]]),
    FORGE.vertex(3, 3, [ROWS[1][3], ROWS[1][1].ref._replace(author=0), ROWS[1][2]]),
    FORGE.vertex(3, 1, ROWS[1], tips=(OPERATORS[0].ref, OperatorRef(2, issuer(9), OPERATORS[1].digest))),
    FORGE.vertex(3, 0, [*ROWS[1][:3], TWINS[3]], timestamp_ms=START_MS + 200),
    FORGE.vertex(2, 2, ROWS[0], timestamp_ms=START_MS + 10**9),
    FORGE.vertex(4, 1, ROWS[2], commit_votes=(CommitVote(150, digest("lie")),)),
    FORGE.vertex(4, 2, ROWS[2], commit_votes=(CommitVote(2**64 - 1, digest("lie")),)),
    FORGE.vertex(4, 3, ROWS[2], commit_votes=(CommitVote(150, digest("lie")),)),
    FORGE.vertex(0, 1, []),
    FORGE.vertex(5, 1, [ROWS[3][2], ROWS[3][1]]),
]
VERTICES: list[Vertex] = [*flat(ROWS), *OPERATORS, *TWINS, *STRANGE]


@st.composite
def messages(draw: st.DrawFn) -> Message:
    number = draw(st.integers(0, 40))
    some = tuple(draw(st.lists(st.sampled_from(VERTICES), max_size=6)))
    refs = [vertex.ref for vertex in some]
    if draw(st.booleans()):
        refs = [_mutated(ref, draw(st.integers(0, 7))) for ref in refs]
    kind = draw(st.integers(0, 8))
    if kind < 3:
        return Push(draw(st.sampled_from(VERTICES)))
    if kind == 3:
        return GetVertices(number, tuple(refs))
    if kind == 4:
        return Vertices(number, some)
    if kind == 5:
        return GetCommits(number, draw(st.integers(0, 5)), draw(st.integers(0, 205)))
    if kind == 6:
        return GetNewest(number, draw(st.integers(0, 6)))
    own = tuple(vertex for vertex in some if isinstance(vertex, ValidatorVertex))
    if kind == 7:
        return Newest(number, draw(st.integers(0, 2)), own)
    leaders = [vertex.ref for vertex in own]
    commits = [Commit(7, place, digest(place), START_MS, (ref,)) for place, ref in enumerate(leaders, 1)]
    return Commits(number, tuple(commits), own)


def _mutated(ref: Any, how: int) -> Any:
    if isinstance(ref, VertexRef):
        return [ref._replace(author=how), ref._replace(round=how), ref._replace(digest=digest(how))][how % 3]
    return ref._replace(anchor_round=how) if how % 2 else ref._replace(issuer=issuer(how))


STEPS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from([1, 2, 3, 70_000]), messages()),
    st.tuples(st.just("tick"), st.sampled_from([0, 1, 50, 500, 2000]), st.none()),
    st.tuples(st.just("connect"), st.sampled_from([1, 2, 3, 70_000]), st.none()),
    st.tuples(st.just("disconnect"), st.sampled_from([1, 2, 3, 70_000]), st.none()),
)


@settings(max_examples=120, derandomize=True)
@given(me=st.sampled_from([0, None]), steps=st.lists(STEPS, max_size=40))
def test_whatever_peers_send_is_at_worst_penalised(me: int | None, steps: list[Any]) -> None:
    seat = seat_of(me, 1, 2, params=ChainParams(gc_depth=3), settings={"jobs_max": 4})
    for key in (0, 1):
        seat.node.set_issuer(issuer(key), 1, 1)
    for kind, value, message in steps:
        if kind == "say":
            seat.say(value, message)
        elif kind == "tick":
            seat.tick(value)
        elif kind == "connect":
            seat.perform(seat.node.on_connected(value, seat.now_ms))
        else:
            seat.perform(seat.node.on_disconnected(value, seat.now_ms))
    asked = {peer for peer, _ in sends(seat.done, GetVertices)}
    assert asked <= {1, 2, 3, 70_000}
    # What is true gets in all the same.
    seat.now_ms += 20_000
    for vertex in flat(ROWS[:3]):
        seat.say(vertex.author, Push(vertex))
    window = seat.node.engine.window
    first = [vertex for vertex in ROWS[0] if window.get(vertex.digest) is None]
    taken = {vertex.author for vertex in TWINS} | {me}
    assert all(vertex.author in taken or seat.node.engine.chain.gc_round >= 1 for vertex in first)
