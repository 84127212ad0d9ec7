"""What the methods about single vertices and about the validators' part in the DAG do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cherrydag.crypto import DIGEST_BYTES
from cherrydag.payload import payload_ids
from cherrydag.primitives import Peer, Round, ValidatorIndex
from cherrydag.refs import round_of
from cherrydag.rpc import forms
from cherrydag.rpc.dag_feed import NAME_BYTES, vertex_size
from cherrydag.vertex import ValidatorVertex

if TYPE_CHECKING:
    from cherrydag.commit import Commit
    from cherrydag.node import Node
    from cherrydag.rpc.backend import Backend
    from cherrydag.rpc.forms import Json
    from cherrydag.vertex import Vertex

_COMMITS: Final = 8
"""Commits that are read between two turns of the loop."""


# Of a vertex


async def vertex(api: Backend, digest: str) -> Json | None:
    """A vertex by its digest, or by what that begins with."""
    found = _find(api, digest)
    if found is None:
        return None
    commit = await _commit_of(api, found)
    form = _vertex_form(api, found)
    form["commit_index"] = None if commit is None else commit.index
    form["is_leader"] = commit is not None and commit.leader == found.ref
    return form


def _find(api: Backend, digits: str) -> Vertex | None:
    """In the window or the log; of several the one that was written first."""
    named = api.running.store.named(bytes.fromhex(digits[: 2 * NAME_BYTES]))
    return next((vertex for vertex in named if vertex.digest.hex().startswith(digits)), None)


def _vertex_form(api: Backend, vertex: Vertex) -> Json:
    payload, genesis = vertex.payload, api.running.home.genesis
    ids = payload_ids(payload, genesis.chain())[: api.limits.vertex_ids * DIGEST_BYTES]
    form: Json = {
        "digest": vertex.digest.hex(),
        "round": round_of(vertex.ref),
        "time_ms": vertex.timestamp_ms,
        "transactions": len(payload),
        "bytes": vertex_size(vertex),
        "payload_root": payload.root.hex(),
        "ids": [ids[at : at + DIGEST_BYTES].hex() for at in range(0, len(ids), DIGEST_BYTES)],
    }
    if isinstance(vertex, ValidatorVertex):
        form |= {
            "kind": "validator",
            "author": vertex.author,
            "issuer": genesis.validators[vertex.author].public_key.hex(),
            "seq": None,
            "parents": [forms.ref_form(ref) for ref in vertex.ancestors],
            "tips": [forms.ref_form(ref) for ref in vertex.tips],
        }
    else:
        form |= {
            "kind": "operator",
            "author": None,
            "issuer": vertex.issuer.hex(),
            "seq": vertex.seq,
            "parents": [forms.ref_form(ref) for ref in vertex.parents],
            "tips": [],
        }
    return form


async def _commit_of(api: Backend, vertex: Vertex) -> Commit | None:
    """The commit that orders it, if it is executed. It is one of those from the first whose leader is not
    below the vertex, to the one behind which the vertex is not in the window any more."""
    store, last, round_ = api.running.store, api.commit_index, round_of(vertex.ref)
    depth = api.running.home.genesis.chain_params.gc_depth
    index = _first_at(api, round_)
    while index <= last:
        commits = store.commits(index, min(last, index + _COMMITS - 1))
        if not commits:
            return None
        for commit in commits:
            if vertex.ref in commit.vertices:
                return commit
            if commit.leader.round >= round_ + depth:
                return None
        index = commits[-1].index + 1
        await api.reads.enter()
    return None


def _first_at(api: Backend, round_: Round) -> int:
    """Index of the first commit whose leader is of this round or a higher one: leaders' rounds rise."""
    bounds = api.running.store.commits_bounds()
    low, high = (bounds[0] if bounds else 1), api.commit_index + 1
    while low < high:
        middle = (low + high) // 2
        found = api.running.store.commits(middle, middle)
        if found and found[0].leader.round < round_:
            low = middle + 1
        else:
            high = middle
    return low


# Of the validators


def validators(api: Backend) -> Json:
    """Their part in the DAG."""
    host = api.running.host
    if host is None:
        return {"round": 0, "validators": []}
    node, genesis = host.node, api.running.home.genesis
    links = {} if api.node is None else api.node.peers.links
    lines = _lines(node, len(genesis.validators))
    leads, missed = _leads(api, node)
    return {
        "round": node.engine.clock_round,
        "validators": [
            {
                "index": index,
                "name": one.name,
                "public_key": one.public_key.hex(),
                "stake": str(one.stake),
                "is_self": ValidatorIndex(index) == node.me,
                "is_linked": Peer(index) in links,
                **lines[index],
                "leads": leads[index],
                "leads_missed": missed[index],
            }
            for index, one in enumerate(genesis.validators)
        ],
    }


def _lines(node: Node, count: int) -> list[Json]:
    """What of each validator is in the window. A round counts once there is a quorum in the next one."""
    engine = node.engine
    graph = engine.window.graph
    low, clock = engine.window.gc_round + 1, engine.clock_round
    authors = [graph.round_authors(Round(number)).authors for number in range(low, graph.highest_round + 1)]
    closed = authors[: max(0, clock - low)]
    lines: list[Json] = []
    for index in range(count):
        there = [at for at, mask in enumerate(authors) if mask >> index & 1]
        held = sum(mask >> index & 1 for mask in closed)
        lines.append(
            {
                "last_round": low + there[-1] if there else None,
                "vertices": len(there),
                "rounds": len(closed),
                "misses": len(closed) - held,
            }
        )
    return lines


def _leads(api: Backend, node: Node) -> tuple[list[int], list[int]]:
    """How often each has led a commit, and how often the chain went on without it: in the rounds of the
    window from the first to the last leader among the commits that the node has in memory."""
    chain, count = node.engine.chain, len(api.running.home.genesis.validators)
    leads, missed = [0] * count, [0] * count
    leaders = {
        leader.round: leader.author
        for leader in api.running.lookups.recent_leaders()
        if leader.round > chain.gc_round
    }
    if leaders:
        for number in range(min(leaders), max(leaders) + 1):
            author = leaders.get(Round(number))
            if author is None:
                missed[chain.leader(Round(number))] += 1
            else:
                leads[author] += 1
    return leads, missed
