"""Figures of what clients use: mempool, admission, workers, API."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from cherrydag.mempool import AddStatus
from cherrydag.rpc.metric_families import Group, counter, counters, gauge, gauges

if TYPE_CHECKING:
    from cherrydag.mempool import Mempool, MempoolStats
    from cherrydag.rpc.server import RpcServer
    from cherrydag.runtime.service import Service
    from cherrydag.runtime.workers import PoolStats


class _Pool(NamedTuple):
    """A mempool, looked at once."""

    mempool: Mempool
    stats: MempoolStats


def _mempool(server: RpcServer) -> _Pool:
    mempool = server.backend.running.service.mempool
    return _Pool(mempool, mempool.stats())


def _service(server: RpcServer) -> Service:
    return server.backend.running.service


def _workers(server: RpcServer) -> PoolStats:
    return server.backend.running.pool.stats()


def _server(server: RpcServer) -> RpcServer:
    return server


def _outcomes(at: _Pool) -> dict[str, float]:
    return {status.name.lower(): at.stats.outcomes[status] for status in AddStatus}


def _wait_s(service: Service) -> float:
    wait_ms = service.gate.overload.wait_ms(service.gate.waiting)
    return math.nan if wait_ms is None else wait_ms / 1000


MEMPOOL: Final = Group(
    "Mempool",
    _mempool,
    (
        gauge("mempool_waiting", "Transactions that wait for a vertex", lambda at: at.stats.waiting),
        gauge("mempool_taken", "Transactions in vertices that are not sequenced", lambda at: at.stats.taken),
        gauge(
            "mempool_transactions_limit",
            "Transactions that it holds, both together",
            lambda at: at.mempool.limits.transactions_max,
        ),
        gauge("mempool_senders", "Accounts with transactions in it", lambda at: at.stats.senders),
        gauge("mempool_recent", "Settled ids that are remembered", lambda at: at.stats.recent),
        gauge("mempool_body_bytes", "Bytes of bodies, in whole blocks", lambda at: at.stats.body_bytes),
        gauge(
            "mempool_body_bytes_limit",
            "Bytes of bodies that it holds",
            lambda at: at.mempool.limits.body_bytes_max,
        ),
        gauge("mempool_memory_bytes", "Memory that it has reserved", lambda at: at.stats.memory_bytes),
        counters("mempool_offered", "outcome", "Transactions offered, by outcome", _outcomes),
        counter(
            "mempool_settled", "Transactions that a commit has settled", lambda at: at.stats.settled_ever
        ),
        counter(
            "mempool_put_back",
            "Transactions that wait again, their vertex being lost",
            lambda at: at.stats.put_back_ever,
        ),
        counter("mempool_evicted", "Transactions dropped for better ones", lambda at: at.stats.evicted),
        counter(
            "mempool_expired", "Transactions dropped when their time was over", lambda at: at.stats.expired
        ),
        counter("mempool_stale", "Transactions dropped for a used nonce", lambda at: at.stats.stale),
    ),
)

ADMISSION: Final = Group(
    "Admission and overload",
    _service,
    (
        gauge(
            "admission_drain",
            "Own transactions that become final a second, over two seconds",
            lambda at: at.gate.overload.rate,
        ),
        gauge(
            "admission_waiting",
            "Transactions that are checked or wait for a vertex",
            lambda at: at.gate.waiting,
        ),
        gauge(
            "admission_waiting_limit",
            "How many of these an overload allows",
            lambda at: at.gate.overload.waiting_max,
        ),
        gauge(
            "admission_wait_seconds",
            "How long what waits needs at this drain; NaN while nothing is known of it",
            _wait_s,
        ),
        gauge(
            "admission_vertex_limit",
            "Transactions of the next own vertex",
            lambda at: at.gate.overload.vertex_max,
        ),
        gauge(
            "admission_overloaded",
            "1 while new submissions are refused for an overload",
            lambda at: at.gate.overload.is_refusing,
        ),
        counters(
            "admission_refused",
            "limit",
            "Submissions refused whole, by the limit that they met",
            lambda at: at.gate.refused,
        ),
        gauge(
            "admission_held",
            "Transactions that wait for the funds of their fee",
            lambda at: at.funding.held,
        ),
        gauge("admission_held_limit", "How many of these there may be", lambda at: at.funding.held_max),
        counter(
            "admission_unfunded",
            "Transactions refused since their fee was not there",
            lambda at: at.funding.refused,
        ),
    ),
)

WORKERS: Final = Group(
    "Native workers",
    _workers,
    (
        gauge("workers", "Threads that check signatures and hash", lambda at: len(at.workers)),
        gauge("worker_jobs_queued", "Jobs in the ring", lambda at: at.queued),
        gauge("worker_jobs_running", "Jobs that run", lambda at: at.running),
        gauge("worker_jobs_finished", "Jobs that are done and not collected", lambda at: at.finished),
        gauge("worker_jobs_waiting", "Callers that wait for a place in the ring", lambda at: at.waiting),
        counter("worker_jobs_submitted", "Jobs handed in", lambda at: at.submitted),
        counter("worker_jobs_completed", "Jobs done", lambda at: at.completed),
        counter("worker_jobs_refused", "Jobs refused by a full ring", lambda at: at.refused),
        counter(
            "worker_callers_turned_away",
            "Callers that found no place to wait",
            lambda at: at.turned_away,
        ),
        counter(
            "worker_busy_seconds",
            "Wall time inside jobs, of all threads",
            lambda at: sum(worker.busy_ns for worker in at.workers) / 1e9,
        ),
        counter(
            "worker_cpu_seconds",
            "CPU time of all threads",
            lambda at: sum(worker.cpu_ns for worker in at.workers) / 1e9,
        ),
    ),
)

API: Final = Group(
    "API",
    _server,
    (
        counters(
            "rpc_calls",
            ("method", "code"),
            "Calls by method and code; ok for results",
            lambda at: dict(sorted(at.calls.counts.items())),
        ),
        gauge("rpc_calls_open", "Calls in work", lambda at: at.calls.open),
        gauge(
            "rpc_reads_waiting", "Reads that wait for a turn of the loop", lambda at: len(at.backend.reads)
        ),
        gauge("rpc_connections", "Open connections", lambda at: at.connections),
        counter("rpc_connections_refused", "Connections turned away", lambda at: at.refused_connections),
        gauge("rpc_websockets", "Open WebSockets", lambda at: len(at.hub.sessions)),
        gauge("rpc_subscriptions", "Open subscriptions", lambda at: at.hub.subscriptions),
        counter("rpc_lagged", "WebSockets closed because they did not keep up", lambda at: at.hub.lagged),
        gauge("rpc_submit_bytes_open", "Bytes of submissions in work", lambda at: at.backend.bytes_open),
        gauges(
            "rpc_limit",
            "name",
            "Bounds of the API, as its settings name them",
            lambda at: at.backend.limits.as_dict(),
        ),
    ),
)
