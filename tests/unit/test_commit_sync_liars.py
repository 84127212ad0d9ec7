"""Commit sync among peers that lie, cut short or keep silent, in virtual time."""

import heapq
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_chain import ORIGIN, VOTE_DELAY
from sync_rig import FALSE, LIMITS, SYNC, Request, server_of
from vertices import RULES, validator_vertex

from cherrydag.commit import Commit, CommitVote
from cherrydag.errors import PeerFault
from cherrydag.gossip.commit_sync import CommitSync
from cherrydag.gossip.messages import Commits, GetCommits, GetVertices, Vertices
from cherrydag.gossip.ranges import CertifiedCommit
from cherrydag.gossip.server import Server
from cherrydag.payload import EMPTY_PAYLOAD
from cherrydag.primitives import Peer
from cherrydag.refs import AnyRef


class Liar:
    """Answers as `kinds` say, one of them drawn for each request; None is silence."""

    def __init__(self, rng: Random, kinds: list[str], honest: Server) -> None:
        self.rng = rng
        self.kinds = kinds
        self.honest = honest
        self.false = server_of(FALSE)

    def answer(self, request: Request) -> Commits | Vertices | None:
        kind = self.rng.choice(self.kinds)
        if kind == "silent":
            return None
        if isinstance(request, GetCommits):
            return self.commits(kind, request)
        return self.vertices(kind, request)

    def commits(self, kind: str, request: GetCommits) -> Commits:
        true = self.honest.commits(request)
        false = self.false.commits(request)
        if kind == "empty":
            return Commits(request.number, (), ())
        if kind == "truncated":
            return self.honest.commits(replace(request, last=request.first))
        if kind == "too few votes":
            return replace(false, votes=false.votes[:1])
        if kind == "false chain":
            return false
        if kind == "false tail":
            return replace(true, commits=(*true.commits[:-1], *false.commits[-1:]))
        if kind == "wrong votes":
            return replace(true, votes=false.votes)
        if kind == "false commit":
            return forge(true)
        return replace(true, number=true.number + self.rng.choice([0, 0, 1]))

    def vertices(self, kind: str, request: GetVertices) -> Vertices:
        true = self.honest.vertices(request)
        if kind == "empty":
            return Vertices(request.number, ())
        if kind == "truncated":
            return replace(true, vertices=true.vertices[:1])
        if kind in ("false chain", "false tail", "false commit"):
            false = tuple(FALSE.vertices.values())[: len(request.refs)]
            return replace(true, vertices=false)
        if kind in ("too few votes", "wrong votes"):
            stripped = tuple(
                replace(v, payload=replace(EMPTY_PAYLOAD, root=v.payload.root)) for v in true.vertices
            )
            return replace(true, vertices=stripped)
        return true


KINDS = [
    "silent",
    "empty",
    "truncated",
    "too few votes",
    "false chain",
    "false tail",
    "wrong votes",
    "false commit",
]
KINDS += ["wrong number"]


def forge(true: Commits) -> Commits:
    """A self-consistent range that begins at our last commit, with votes that nobody signed."""
    commits: list[Commit] = []
    for commit in true.commits:
        previous = commits[-1].digest if commits else commit.prev_digest
        commits.append(replace(commit, prev_digest=previous, timestamp_ms=77))
    if not commits:
        return true
    vote = CommitVote(commits[-1].index, commits[-1].digest)
    votes = tuple(validator_vertex(author=a, commit_votes=(vote,), signed=False) for a in range(4))
    return replace(true, commits=tuple(commits), votes=votes)


class World:
    """A node that syncs with four peers in virtual time. Votes are valid if the true chain has them."""

    def __init__(self, seed: int, honest: int, kinds: list[str], target: int = 37, **limits: int) -> None:
        self.rng = Random(seed)
        server = server_of(SYNC, self.rng.choice([4 << 20, 20_000]))
        peers = [Peer(number) for number in range(4)]
        self.honest = set(self.rng.sample(peers, honest))
        self.servers: dict[Peer, Any] = {
            peer: server if peer in self.honest else Liar(Random(self.rng.random()), kinds, server)
            for peer in peers
        }
        self.rng.shuffle(peers)
        self.sync = CommitSync(RULES, 0, ORIGIN, limits=LIMITS._replace(**limits))
        self.sync.set_peers(peers, 0)
        self.sync.set_target(target, 0)
        for peer in peers:
            self.sync.peer_index(peer, target if peer in self.honest else 10**9)
        self.target = target
        self.events: list[tuple[int, int, Callable[[int], None]]] = []
        self.order = count()
        self.applied: list[CertifiedCommit] = []
        self.held_max = 0

    def at(self, time_ms: int, event: Callable[[int], None]) -> None:
        heapq.heappush(self.events, (time_ms, next(self.order), event))

    def run(self, end_ms: int) -> int:
        """Run until all is applied; the time that it took."""
        now_ms = 0
        while self.sync.is_active:
            for peer, request in self.sync.requests(now_ms):
                self.send(peer, request, now_ms)
            wake_ms = self.sync.wake_at_ms
            times = [
                time for time in (wake_ms, self.events[0][0] if self.events else None) if time is not None
            ]
            assert times, "nothing will ever happen"
            now_ms = max(now_ms, min(times))
            assert now_ms < end_ms, "it takes too long"
            while self.events and self.events[0][0] <= now_ms:
                heapq.heappop(self.events)[2](now_ms)
            for ready in self.sync.ready():
                self.applied.append(ready)
                self.sync.applied(ready.commit.index, ready.commit.digest)
            self.held_max = max(self.held_max, self.sync.held_bytes)
        return now_ms

    def send(self, peer: Peer, request: Request, now_ms: int) -> None:
        server = self.servers[peer]
        if isinstance(server, Liar):
            message = server.answer(request)
        elif isinstance(request, GetCommits):
            message = server.commits(request)
        else:
            message = server.vertices(request)
        if message is not None:
            self.at(now_ms + self.rng.randrange(5, 200), lambda at_ms: self.receive(peer, message, at_ms))

    def receive(self, peer: Peer, message: Commits | Vertices, now_ms: int) -> None:
        try:
            if isinstance(message, Vertices):
                self.sync.on_vertices(peer, message, now_ms)
                return
            votes = self.sync.on_commits(peer, message, now_ms)
        except PeerFault as error:
            assert peer not in self.honest, error
            return
        if votes:
            valid = all(SYNC.vertices.get(vote.ref) == vote for vote in votes)
            delay_ms = self.rng.randrange(50)
            self.at(
                now_ms + delay_ms, lambda at_ms: self.sync.on_votes_verified(message.number, valid, at_ms)
            )


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    honest=st.integers(1, 4),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
)
def test_liars_only_cost_time(seed: int, honest: int, kinds: list[str]) -> None:
    world = World(seed, honest, kinds, held_bytes_max=40_000, response_bytes_max=20_000)
    world.run(end_ms=300_000)
    indices = [ready.commit.index for ready in world.applied]
    assert indices == list(range(1, len(indices) + 1))
    assert len(indices) > 37 - LIMITS.batch
    for ready in world.applied:
        assert ready.commit == SYNC.commits[ready.commit.index - 1]
        assert ready.vertices == SYNC.of(ready.commit)
    assert all(world.sync.lies(peer) == 0 for peer in world.honest)


@pytest.mark.parametrize("kind", KINDS)
def test_three_liars_of_one_kind_cost_seconds(kind: str) -> None:
    took = [World(seed, 1, [kind]).run(end_ms=120_000) for seed in range(5)]
    assert max(took) < 60_000


def test_the_votes_of_the_newest_commits_need_not_be_there() -> None:
    world = World(1, 4, KINDS, target=40)
    world.run(end_ms=60_000)
    assert 40 - LIMITS.batch < world.applied[-1].commit.index <= 40 - VOTE_DELAY


def test_equal_inputs_make_equal_requests() -> None:
    def trace() -> list[tuple[Peer, int, tuple[AnyRef, ...] | int]]:
        sent: list[tuple[Peer, int, tuple[AnyRef, ...] | int]] = []
        world = World(7, 2, KINDS)
        send = world.send

        def record(peer: Peer, request: Request, now_ms: int) -> None:
            sent.append((peer, now_ms, request.refs if isinstance(request, GetVertices) else request.first))
            send(peer, request, now_ms)

        world.send = record  # type: ignore[method-assign]
        world.run(end_ms=300_000)
        return sent

    first: list[Any] = trace()
    assert first == trace()
    assert len(first) > 4
