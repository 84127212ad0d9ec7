"""Figures in the text format of Prometheus, read from the parts' own counters when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from cherrydag.mempool import AddStatus
from cherrydag.rpc.health import linked_stake, readiness

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from cherrydag.rpc.server import RpcServer

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PREFIX: Final = "cherrydag_"


def scrape(server: RpcServer) -> bytes:
    """All figures of a node and its API, now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Node(server))
    return generate_latest(registry)


class _Node(Collector):
    def __init__(self, server: RpcServer) -> None:
        self._server = server

    def collect(self) -> Iterable[Metric]:
        """One family after another."""
        yield from self._chain()
        yield from self._mempool()
        yield from self._store()
        yield from self._peers()
        yield from self._workers()
        yield from self._api()

    def _chain(self) -> Iterator[Metric]:
        running = self._server.backend.running
        yield _gauge("commit_index", "Index of the last final commit", running.books.commit_index)
        yield _gauge("chain_time_seconds", "Main-chain time", running.lookups.time_s)
        index = running.books.indexes
        yield _gauge("index_memory_bytes", "Memory of the indexes", index.memory_bytes())
        checkpointing = running.books.checkpointing
        yield _gauge("checkpoint_index", "Commit that a restart begins with", checkpointing.commit_index)
        yield _gauge("checkpoint_running", "Whether a checkpoint is being written", checkpointing.is_running)
        yield _gauge("submissions_open", "Submissions that are followed", len(running.service.tracker))
        reasons = readiness(running, self._server.backend.node)
        yield _gauge("ready", "Whether the node is of use to clients", not reasons)
        host = running.host
        if host is None:
            return
        stats, engine = host.stats, host.node.engine
        yield _gauge("round", "Highest round with a quorum", engine.clock_round)
        yield _gauge(
            "execution_waiting", "Commits that are durable and not executed yet", stats.execution_waiting
        )
        yield _counter("commits", "Commits executed since the start", stats.commits)
        yield _labelled(
            "vertices",
            "Vertices from others by verdict",
            "verdict",
            {"verified": stats.vertices_verified, "refused": stats.vertices_refused, "lost": stats.lost},
        )
        yield _counter("equivocations", "Equivocations seen", stats.equivocations)
        yield _counter("penalties", "Penalties given to peers", stats.penalties)
        yield _counter("store_full", "Writes that waited for the disk", stats.store_full)
        is_diverged = host.diverged is not None or "diverged" in running.refusals
        yield _gauge("diverged", "Whether a quorum has another state", is_diverged)
        yield _gauge(
            "safe_mode", "Whether it is only to be read after crashes", "safe_mode" in running.refusals
        )

    def _mempool(self) -> Iterator[Metric]:
        stats = self._server.backend.running.service.mempool.stats()
        for name in ("waiting", "taken", "senders", "body_bytes", "memory_bytes"):
            yield _gauge(f"mempool_{name}", f"Mempool: {name.replace('_', ' ')}", getattr(stats, name))
        outcomes = {status.name.lower(): stats.outcomes[status] for status in AddStatus}
        yield _labelled("mempool_offered", "Transactions offered, by outcome", "outcome", outcomes)
        for name in ("settled_ever", "put_back_ever", "evicted", "expired", "stale"):
            short = name.removesuffix("_ever")
            yield _counter(f"mempool_{short}", f"Mempool: transactions {short}", getattr(stats, name))

    def _store(self) -> Iterator[Metric]:
        store = self._server.backend.running.store
        info = store.info()
        yield _gauge("store_used_bytes", "Bytes of the database's pages", info.used_bytes)
        yield _gauge("store_map_bytes", "Address space of the database", info.map_bytes)
        yield _gauge("store_queued", "Writes that wait", info.queued)
        yield _counter("store_transactions", "Transactions of the database", info.transactions)
        yield _counter("store_puts", "Values written", info.puts)
        yield _counter("store_written_bytes", "Bytes written", info.bytes)
        yield _gauge("store_failed", "Whether the store is read-only after a failure", bool(store.failure))

    def _peers(self) -> Iterator[Metric]:
        backend = self._server.backend
        linked, quorum = linked_stake(backend.running, backend.node)
        yield _gauge("linked_stake", "Stake of linked validators, this one included", linked)
        yield _gauge("quorum_stake", "Stake of a quorum", quorum)
        if backend.node is None:
            return
        peers = backend.node.peers
        yield _gauge("peers", "Linked peers", len(peers.links))
        traffic = peers.transport.traffic
        yield _labelled(
            "peer_bytes",
            "Bytes of all links",
            "direction",
            {"in": traffic.bytes_in, "out": traffic.bytes_out},
        )
        yield _labelled(
            "peer_frames",
            "Frames of all links",
            "direction",
            {"in": traffic.frames_in, "out": traffic.frames_out},
        )
        yield _counter("peer_shed", "Answers refused for lack of room", traffic.shed)

    def _workers(self) -> Iterator[Metric]:
        stats = self._server.backend.running.pool.stats()
        for name in ("queued", "running", "waiting"):
            yield _gauge(f"worker_jobs_{name}", f"Jobs of the workers: {name}", getattr(stats, name))
        for name in ("submitted", "completed", "refused"):
            yield _counter(f"worker_jobs_{name}", f"Jobs of the workers: {name}", getattr(stats, name))

    def _api(self) -> Iterator[Metric]:
        server = self._server
        backend, hub = server.backend, server.hub
        yield _gauge("loop_lag_seconds", "How late the event loop is", backend.lag.lag_ms / 1000)
        calls = CounterMetricFamily(
            f"{_PREFIX}rpc_calls", "Calls by method and code", labels=["method", "code"]
        )
        for (method, code), count in sorted(server.calls.counts.items()):
            calls.add_metric([method, code], count)
        yield calls
        yield _gauge("rpc_calls_open", "Calls in work", server.calls.open)
        yield _gauge("rpc_connections", "Open connections", server.connections)
        yield _counter("rpc_connections_refused", "Connections turned away", server.refused_connections)
        yield _gauge("rpc_websockets", "Open WebSockets", len(hub.sessions))
        yield _gauge("rpc_subscriptions", "Open subscriptions", hub.subscriptions)
        yield _counter("rpc_lagged", "WebSockets closed because they did not keep up", hub.lagged)
        yield _gauge("rpc_submit_bytes_open", "Bytes of submissions in work", backend.bytes_open)
        limits = GaugeMetricFamily(f"{_PREFIX}rpc_limit", "Bounds of the API", labels=["name"])
        for name, value in backend.limits.as_dict().items():
            limits.add_metric([name], value)
        yield limits


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, text, value=float(value))


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
