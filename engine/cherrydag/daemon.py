"""A node as a process: its ledger, its peers and its API, from one folder, until it is told to stop."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from cherrydag.rpc.server import RpcOptions, RpcServer
from cherrydag.runtime.home import Home
from cherrydag.runtime.node_runner import NetworkOptions, RunningNode, start_node
from cherrydag.runtime.opening import LedgerOptions


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What a node's process runs. api: None for a node without one."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    ledger: LedgerOptions = field(default_factory=LedgerOptions)
    api: RpcOptions | None = field(default_factory=RpcOptions)


async def serve(
    home: Home, options: DaemonOptions, ready: Callable[[RunningNode, RpcServer | None], None]
) -> None:
    """Run a node until SIGINT or SIGTERM, or until it fails: then its error is raised. ready: it is up."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    node = await start_node(home, options.network, options.ledger)
    server = None
    try:
        if options.api is not None:
            server = RpcServer(node.ledger, node, options.api)
            await server.start()
        ready(node, server)
        await stop.wait()
    finally:
        if server is not None:
            await server.close()
        await node.close()
