"""Commands that run a node."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cherrydag.cli.options import folder_argument
from cherrydag.cli.output import print_json

if TYPE_CHECKING:
    from cherrydag.rpc.server import RpcServer
    from cherrydag.runtime.node_runner import RunningNode


@click.command()
@folder_argument
@click.option("--peers", default="127.0.0.1:0", show_default=True, help="Where to listen for peers.")
@click.option("--api", default="127.0.0.1:0", show_default=True, help="Where to listen for clients.")
def run(folder: Path, peers: str, api: str) -> None:
    """Run the node in DIR until it is interrupted.

    Prints one line of JSON when it is up: where it listens.
    """
    import uvloop

    from cherrydag.rpc.server import RpcOptions
    from cherrydag.daemon import DaemonOptions, serve
    from cherrydag.runtime.home import Home
    from cherrydag.runtime.node_runner import NetworkOptions

    def ready(node: "RunningNode", server: "RpcServer | None") -> None:
        print_json({"peers_port": node.peers.transport.port, "api_port": server.port if server else None})

    options = DaemonOptions(NetworkOptions(_place(peers)), api=RpcOptions(_place(api)))
    uvloop.run(serve(Home.load(folder), options, ready))


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
