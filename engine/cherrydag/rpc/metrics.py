"""Figures in the text format of Prometheus, read from the parts' own counters when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cherrydag.rpc import metrics_process
from cherrydag.rpc.metrics_chain import CHAIN, CONSENSUS, GOSSIP, STAGES
from cherrydag.rpc.metrics_network import DISCOVERY, PEERS
from cherrydag.rpc.metrics_process import PROCESS
from cherrydag.rpc.metrics_service import ADMISSION, API, MEMPOOL, WORKERS
from cherrydag.rpc.metrics_storage import DERIVED, STORE

if TYPE_CHECKING:
    from cherrydag.rpc.server import RpcServer

GROUPS: Final = (
    *(CHAIN, CONSENSUS, GOSSIP, STAGES, MEMPOOL, ADMISSION, STORE, DERIVED),
    *(PEERS, DISCOVERY, WORKERS, API, PROCESS),
)
"""All figures of ours, in the order in which they are told; docs/metrics.md is made from this."""


def scrape(server: RpcServer) -> bytes:
    """All figures of a node and its API, now."""
    lines = [line for group in GROUPS for line in group.lines(server)]
    return "".join([*lines, *metrics_process.standard()]).encode()
