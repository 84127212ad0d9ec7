"""Figures of the process: build, event loop, memory, files, threads, processor."""

from __future__ import annotations

import asyncio
import os
import platform
from typing import TYPE_CHECKING, Final

from prometheus_client import ProcessCollector

from cherrydag import __version__, crypto
from cherrydag.rpc import exposition
from cherrydag.rpc.metric_families import Group, gauge, gauges, histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cherrydag.rpc.server import RpcServer

STANDARD: Final = {
    "process_virtual_memory_bytes": "Virtual memory size",
    "process_resident_memory_bytes": "Resident memory size",
    "process_start_time_seconds": "Start, Unix seconds",
    "process_cpu_seconds_total": "CPU time, user and system",
    "process_open_fds": "Open descriptors",
    "process_max_fds": "Descriptors that may be open",
}
"""What Prometheus' own library tells of every process, under names that all programs share."""

_collector: Final = ProcessCollector(registry=None)


def standard() -> Iterator[str]:
    """The text of all of STANDARD."""
    for family in _collector.collect():
        for one in family.samples:
            yield exposition.head(one.name, family.type, family.documentation)
            yield exposition.sample(one.name, one.value)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - a third of the time


def _build(_: object) -> dict[str, float]:
    return {__version__: 1.0}


def _server(server: RpcServer) -> RpcServer:
    return server


PROCESS: Final = Group(
    "Process",
    _server,
    (
        gauges("build_info", "version", "1, with the version that runs", _build),
        gauges(
            "python_info", "version", "1, with Python's version", lambda _: {platform.python_version(): 1}
        ),
        gauges(
            "native_info", "backend", "1, with the instruction set in use", lambda _: {crypto.backend(): 1}
        ),
        gauge(
            "loop_lag_seconds",
            "How late the event loop is, at its last beat or the one that is due",
            lambda at: at.backend.lag.lag_ms / 1000,
        ),
        histogram(
            "loop_lateness_seconds", "The same of all beats, ten a second", lambda at: at.backend.lag.lateness
        ),
        gauge("process_threads", "Threads of the process", lambda _: _threads()),
        gauge("loop_tasks", "Tasks of the event loop", lambda _: len(asyncio.all_tasks())),
    ),
)
