"""Figures of what is kept: store, disk, checkpoints, indexes, and the threads that write."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from cherrydag.rpc.metric_families import Group, counter, gauge, gauges

if TYPE_CHECKING:
    from cherrydag.rpc.server import RpcServer
    from cherrydag.runtime.opening import Running
    from cherrydag.storage.values import StoreInfo


class _Store(NamedTuple):
    """A store, looked at once."""

    running: Running
    info: StoreInfo
    disk: os.statvfs_result


def _store(server: RpcServer) -> _Store:
    running = server.backend.running
    return _Store(running, running.store.info(), os.statvfs(running.home.data))


def _running(server: RpcServer) -> Running:
    return server.backend.running


def _is_failed(at: _Store) -> bool:
    return at.running.no_room is not None or at.running.store.failure is not None


def _outstanding(running: Running) -> dict[str, float]:
    threads = {"checkpoints": running.background, "merges": running.merger, "sign_mark": running.marker}
    return {name: thread.outstanding for name, thread in threads.items() if thread is not None}


STORE: Final = Group(
    "Store and disk",
    _store,
    (
        gauge("store_used_bytes", "Bytes of the database's pages", lambda at: at.info.used_bytes),
        gauge("store_map_bytes", "Address space of the database", lambda at: at.info.map_bytes),
        gauge(
            "store_map_bytes_limit",
            "Address space that it may grow to: store.map_bytes_max",
            lambda at: at.info.map_bytes_max,
        ),
        gauge("store_readers", "Slots of readers in use", lambda at: at.info.readers),
        gauge("store_queued", "Writes that wait", lambda at: at.info.queued),
        counter("store_batches", "Batches written", lambda at: at.info.batches),
        counter("store_transactions", "Transactions of the database", lambda at: at.info.transactions),
        counter("store_puts", "Values written", lambda at: at.info.puts),
        counter("store_written_bytes", "Bytes written", lambda at: at.info.bytes),
        gauge("store_failed", "1 if nothing is written: a full disk, or a failure", _is_failed),
        gauge(
            "disk_free_bytes",
            "Bytes that the node may still write on the disk of its data",
            lambda at: at.disk.f_bavail * at.disk.f_frsize,
        ),
        gauge(
            "disk_size_bytes",
            "Bytes of that disk",
            lambda at: at.disk.f_blocks * at.disk.f_frsize,
        ),
    ),
)

DERIVED: Final = Group(
    "Checkpoints, indexes, background threads",
    _running,
    (
        gauge(
            "checkpoint_index",
            "Commit that a restart begins with",
            lambda at: at.books.checkpointing.commit_index,
        ),
        gauge(
            "checkpoint_running",
            "1 while a checkpoint is written",
            lambda at: at.books.checkpointing.is_running,
        ),
        gauge("index_memory_bytes", "Memory of the indexes", lambda at: at.books.indexes.memory_bytes()),
        gauges(
            "background_jobs",
            "thread",
            "Jobs of a background thread that are not done",
            _outstanding,
        ),
    ),
)
