"""The command that shows a node live in a terminal: `cherrydag top`."""

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from cherrydag.cli.options import Where, json_option, where_argument
from cherrydag.cli.output import plain, print_json

if TYPE_CHECKING:
    from cherrydag.cli.node_figures import Sample

_ONCE_S: Final = 1.0


@click.command()
@where_argument
@click.option("--once", is_flag=True, help="Look for a second, print, end.")
@json_option
def top(where: Where, once: bool, as_json: bool) -> None:
    """Show how a node does, every second: rounds, finality, queues, peers, resources. q quits, p pauses."""
    from cherrydag.cli.node_figures import Series, as_document

    url = _url(where)
    if not once and not as_json:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError("there is no terminal: give --once, with --json or without")
        from cherrydag.cli.dashboard import run

        run(url, lambda: look(url))
        return
    series = Series()
    series.add(look(url))
    time.sleep(_ONCE_S)
    series.add(look(url))
    if as_json:
        print_json(as_document(series))
        return
    from cherrydag.cli.dashboard import lines

    click.echo(lines(series, url, 80, 24).plain)


def look(url: str) -> "Sample":
    """A node's figures now. ConnectionError if it does not answer, PeerFault if it is no node."""
    from cherrydag.cli.doctor.network import get
    from cherrydag.cli.node_figures import Sample

    try:
        text = get(f"{url.rstrip('/')}/metrics").decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        raise ConnectionError(f"{url}: {plain(error)}") from error
    return Sample(text, time.monotonic())


def _url(where: Where) -> str:
    """Of the node that is meant. ConfigError if it does not run, or has no API."""
    from cherrydag.cli.reaching import home_in
    from cherrydag.errors import ConfigError
    from cherrydag.runtime.marks import running_node

    if isinstance(where, str):
        return where
    home_in(where)
    info = running_node(where)
    if info is None or not info.api:
        raise ConfigError(f"{where}: its node does not run, or has no API: cherrydag run {where}")
    return info.api
