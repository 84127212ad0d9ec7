"""Commit sync without a node: requests are answered from a chain that is known."""

from collections.abc import Callable
from typing import Any

import pytest
from sync_chain import ORIGIN, MainChain, main_chain
from vertices import COMMITTEE, RULES

from cherrydag.dag.window import Window
from cherrydag.errors import PeerFault
from cherrydag.gossip.commit_sync import CommitSync
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import Commits, GetCommits, GetVertices, Vertices
from cherrydag.gossip.ranges import CertifiedCommit
from cherrydag.gossip.server import Server
from cherrydag.gossip.sync_limits import SyncLimits
from cherrydag.primitives import Peer
from cherrydag.verify import EpochRules

A, B, C, D = (Peer(number) for number in range(4))
SYNC = main_chain(40)
FALSE = main_chain(40, label="false")
LIMITS = SyncLimits(lag=10, tail=0, batch=10)

Request = GetCommits | GetVertices


def server_of(chain: MainChain, bytes_max: int = 4 << 20) -> Server:
    store = chain.store()
    return Server(COMMITTEE, Window([1, 1, 1, 1], bytes(16)), store, store.newest, bytes_max)


def syncing(*peers: Peer, target: int = 37, rules: EpochRules = RULES, **limits: int) -> CommitSync:
    sync = CommitSync(rules, 0, ORIGIN, limits=LIMITS._replace(**limits))
    sync.set_peers(peers, 0)
    for peer in peers:
        sync.peer_index(peer, target)
    sync.set_target(target, 0)
    return sync


def answer(request: Request, chain: MainChain = SYNC) -> Any:
    """What an honest server that has all of the chain answers."""
    server = server_of(chain)
    return server.commits(request) if isinstance(request, GetCommits) else server.vertices(request)


def ranges(requests: list[tuple[Peer, Request]]) -> list[tuple[Peer, int, int]]:
    return [(peer, r.first, r.last) for peer, r in requests if isinstance(r, GetCommits)]


def fault(function: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(PeerFault) as raised:
        function(*arguments)
    assert str(raised.value)
    return raised.value.code


def certify(sync: CommitSync, now_ms: int = 0, chain: MainChain = SYNC) -> None:
    """Answer every request for commits, truly, and say that all votes are valid."""
    for peer, request in sync.requests(now_ms):
        if isinstance(request, GetCommits):
            assert sync.on_commits(peer, answer(request, chain), now_ms)
            sync.on_votes_verified(request.number, True, now_ms)


def run_to_end(sync: CommitSync, target: int = 37, chain: MainChain = SYNC) -> list[CertifiedCommit]:
    """Answer everything truly and apply what comes out."""
    applied: list[CertifiedCommit] = []
    for _ in range(1000):
        for peer, request in sync.requests(0):
            if isinstance(request, GetCommits):
                sync.on_commits(peer, answer(request, chain), 0)
                sync.on_votes_verified(request.number, True, 0)
            else:
                sync.on_vertices(peer, answer(request, chain), 0)
        for ready in sync.ready():
            applied.append(ready)
            sync.applied(ready.commit.index, ready.commit.digest)
        if applied and applied[-1].commit.index >= target:
            break
    return applied


def none(sync: CommitSync, request: Request, peer: Peer, now_ms: int) -> None:
    sync.on_commits(peer, Commits(request.number, (), ()), now_ms)


def first_range(*peers: Peer, **more: Any) -> tuple[CommitSync, Peer, GetCommits, Commits]:
    """A sync with its first request, and the true answer."""
    sync = syncing(*(peers or (A,)), **{"ranges_max": 1, **more})
    ((peer, request),) = sync.requests(0)
    assert isinstance(request, GetCommits)
    return sync, peer, request, answer(request)


def check_refused(code: SyncFault, change: Callable[[Commits], Commits], **more: Any) -> None:
    """The changed answer is refused with this code, costs the peer its place, and the next one is asked."""
    sync, peer, _, true = first_range(A, B, **more)
    assert fault(sync.on_commits, peer, change(true), 0) == code
    assert (sync.lies(A), sync.lies(B)) == (1, 0)
    assert sync.held_bytes == 0
    assert ranges(sync.requests(0)) == [(B, 1, 10)]
    assert fault(sync.on_commits, peer, true, 0) == SyncFault.UNSOLICITED


def first_vertices() -> tuple[CommitSync, Peer, GetVertices, Vertices]:
    sync = syncing(A, B, target=10, vertex_requests_max=1)
    certify(sync)
    ((peer, request),) = ((p, r) for p, r in sync.requests(0) if isinstance(r, GetVertices))
    return sync, peer, request, answer(request)
