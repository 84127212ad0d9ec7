"""Figures of the main chain and of what leads to it: rounds, window, gossip, sync, finality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cherrydag.consensus.engine import WINDOW
from cherrydag.gossip.backlog import UNEXECUTED_MAX
from cherrydag.gossip.fetcher import FetchLimits
from cherrydag.gossip.sync_limits import SyncLimits
from cherrydag.rpc.health import linked_stake, readiness
from cherrydag.rpc.metric_families import Group, counter, counters, gauge, gauges, histogram

if TYPE_CHECKING:
    from cherrydag.node import Node
    from cherrydag.rpc.server import RpcServer
    from cherrydag.rpc.stages import Stages
    from cherrydag.runtime.host import Host

REASONS: Final = (
    *("behind", "diverged", "draining", "no_quorum", "not_writable"),
    *("only_reads", "recovering", "safe_mode", "stopped"),
)
"""Codes of what keeps a node from being ready, told as 0 too, so that an alert sees them rise."""


def _server(server: RpcServer) -> RpcServer:
    return server


def _host(server: RpcServer) -> Host | None:
    return server.backend.running.host


def _node(server: RpcServer) -> Node | None:
    host = server.backend.running.host
    return None if host is None else host.node


def _stages(server: RpcServer) -> Stages | None:
    return server.stages


def _reasons(server: RpcServer) -> dict[str, float]:
    found = {reason.code for reason in readiness(server.backend.running, server.backend.node)}
    return {code: code in found for code in sorted(found.union(REASONS))}


def _is_diverged(server: RpcServer) -> bool:
    running = server.backend.running
    host = running.host
    return (host is not None and host.diverged is not None) or "diverged" in running.refusals


def _certified(host: Host) -> int:
    return 0 if host.certificate is None else host.certificate.checkpoint.index


def _lag(host: Host) -> int:
    engine = host.node.engine
    return max(0, engine.commit_votes.committed_index - engine.chain.index)


def _commit_sync(host: Host) -> tuple[bool, int]:
    sync = host.node.commit_sync
    return (False, 0) if sync is None else (sync.is_active, sync.held_bytes)


CHAIN: Final = Group(
    "Main chain and readiness",
    _server,
    (
        gauge(
            "commit_index",
            "Index of the last final commit",
            lambda at: at.backend.running.books.commit_index,
        ),
        gauge(
            "chain_time_seconds",
            "Main-chain time, Unix seconds: a median of validators' clocks",
            lambda at: at.backend.running.lookups.time_s,
        ),
        gauge(
            "submissions_open",
            "Submissions that are followed until they are final",
            lambda at: len(at.backend.running.service.tracker),
        ),
        gauge(
            "ready",
            "1 if the node is of use to clients, as /readyz says",
            lambda at: not readiness(at.backend.running, at.backend.node),
        ),
        gauges("not_ready", "reason", "1 for each reason that keeps the node from being of use", _reasons),
        gauge("diverged", "1 if a quorum has signed another state than this node's", _is_diverged),
        gauge(
            "safe_mode",
            "1 if it is only to be read, after crashes",
            lambda at: "safe_mode" in at.backend.running.refusals,
        ),
        gauge(
            "linked_stake",
            "Stake of the validators that it is linked with, its own included",
            lambda at: linked_stake(at.backend.running, at.backend.node)[0],
        ),
        gauge(
            "quorum_stake",
            "Stake that a quorum needs",
            lambda at: linked_stake(at.backend.running, at.backend.node)[1],
        ),
        gauge(
            "validators",
            "Validators of the committee",
            lambda at: len(at.backend.running.service.rules.committee),
        ),
    ),
)

CONSENSUS: Final = Group(
    "Consensus and the DAG",
    _host,
    (
        gauge("round", "Highest round with a quorum of stake", lambda at: at.node.engine.clock_round),
        gauge("gc_round", "Round below which nothing is kept", lambda at: at.node.engine.chain.gc_round),
        gauge("window_vertices", "Vertices in the window", lambda at: len(at.node.engine.window)),
        gauge("window_vertices_limit", "Vertices that the window holds", lambda _: WINDOW.vertices),
        gauge(
            "window_memory_bytes",
            "Memory of the window's graph",
            lambda at: at.node.engine.window.graph.memory_bytes,
        ),
        gauge(
            "commit_lag",
            "Commits that a quorum has and this node has not sequenced",
            _lag,
        ),
        gauge(
            "behind",
            "1 while commits are fetched rather than vertices",
            lambda at: at.node.engine.is_behind,
        ),
        gauge("sync_active", "1 while commit sync asks for commits", lambda at: _commit_sync(at)[0]),
        gauge("sync_held_bytes", "Bytes that commit sync holds", lambda at: _commit_sync(at)[1]),
        gauge(
            "sync_held_bytes_limit",
            "Bytes beyond which it asks for the next commit alone",
            lambda _: SyncLimits().held_bytes_max,
        ),
        gauge("certified_index", "Commit of the last state that a quorum has signed", _certified),
        gauge("halted", "1 if it signs nothing more", lambda at: at.node.engine.is_halted),
        gauge(
            "execution_waiting",
            "Commits that are durable and not executed yet",
            lambda at: at.stats.execution_waiting,
        ),
        gauge(
            "execution_waiting_limit",
            "Commits beyond which commit sync pauses",
            lambda _: UNEXECUTED_MAX,
        ),
        counter("commits", "Commits executed", lambda at: at.stats.commits),
        counters(
            "vertices",
            "verdict",
            "Vertices from others: verified, refused, or verified and then lost to no commit",
            lambda at: {
                "verified": at.stats.vertices_verified,
                "refused": at.stats.vertices_refused,
                "lost": at.stats.lost,
            },
        ),
        counters(
            "vertices_turned_away",
            "reason",
            "Vertices that were not taken into the window or parked",
            lambda at: {str(reason): count for reason, count in at.node.engine.acceptance.refused.items()},
        ),
        counter("equivocations", "Equivocations seen", lambda at: at.stats.equivocations),
        counter("penalties", "Penalties given to peers", lambda at: at.stats.penalties),
        counter("store_full", "Writes that waited for the disk", lambda at: at.stats.store_full),
    ),
)

GOSSIP: Final = Group(
    "Gossip: what is parked and what is wanted",
    _node,
    (
        gauge(
            "pending_vertices",
            "Vertices parked until their parents come",
            lambda at: len(at.engine.acceptance.pending),
        ),
        gauge(
            "pending_vertices_limit",
            "Vertices that may be parked",
            lambda at: at.engine.acceptance.pending.limits[0],
        ),
        gauge(
            "pending_bytes",
            "Bytes of the vertices that are parked",
            lambda at: at.engine.acceptance.pending.size,
        ),
        gauge(
            "pending_bytes_limit",
            "Bytes that may be parked",
            lambda at: at.engine.acceptance.pending.bytes_limits[0],
        ),
        gauge(
            "missing_parents",
            "Parents that parked vertices wait for",
            lambda at: at.engine.acceptance.pending.missing_count,
        ),
        gauge(
            "missing_parents_limit",
            "Parents that may be waited for",
            lambda at: at.engine.acceptance.pending.limits[2],
        ),
        gauge("wanted_vertices", "Vertices that the fetcher asks for", lambda at: len(at.fetcher)),
        gauge(
            "wanted_vertices_limit",
            "Vertices that it may ask for",
            lambda _: FetchLimits().wanted_max,
        ),
    ),
)

STAGES: Final = Group(
    "Stages and finality, since the API listens",
    _stages,
    (
        counter("vertices_accepted", "Vertices that entered the window", lambda at: at.vertices_accepted),
        counter(
            "transactions_accepted",
            "Transactions in vertices that entered the window",
            lambda at: at.transactions_accepted,
        ),
        counter("vertices_final", "Vertices in final commits", lambda at: at.vertices_final),
        counters(
            "transactions_final",
            "outcome",
            "Transactions in final commits: applied, or failed and without effect but for their fee",
            lambda at: {"applied": at.transactions_applied, "failed": at.transactions_failed},
        ),
        histogram(
            "transaction_finality_seconds",
            "From this validator's vertex to final, by transaction; waiting for the vertex comes before",
            lambda at: at.transaction_finality,
        ),
        histogram(
            "vertex_finality_seconds",
            "The same by vertex, empty ones included",
            lambda at: at.vertex_finality,
        ),
        histogram(
            "commit_interval_seconds", "Between two commits that became final", lambda at: at.commit_interval
        ),
        gauge(
            "since_commit_seconds",
            "Since the last commit became final here; NaN before the first",
            lambda at: at.since_commit_s,
        ),
        gauge(
            "clock_offset_seconds",
            "Other validators' clocks minus this one's, less the shortest way; NaN while nothing is known",
            lambda at: at.offset_s(),
        ),
    ),
)
