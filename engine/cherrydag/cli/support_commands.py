"""Commands for who runs a node: the level of its log, and a bundle for support."""

import time
from pathlib import Path
from typing import Final

import click

from cherrydag.cli.options import PATH, folder_argument, json_option
from cherrydag.cli.output import print_json

_WAIT_S: Final = 3.0
_STEP_S: Final = 0.02
_LEVELS: Final = ("debug", "info", "warning", "error", "configured")


@click.command("log-level")
@folder_argument
@click.argument("level", type=click.Choice(_LEVELS))
@json_option
def log_level(folder: Path, level: str, as_json: bool) -> None:
    """Set the level of the log of the node that runs in DIR, until it ends or is told another.

    configured: back to what its settings say now. Only who owns DIR and the process can do this: the request
    lies in DIR, and a signal says so. There is no way over the network.
    """
    import os
    import signal

    from cherrydag.cli.reaching import home_in
    from cherrydag.errors import ConfigError, StorageError
    from cherrydag.logs import is_level_requested, request_level
    from cherrydag.runtime.marks import check_namespace, running_node

    home_in(folder)
    info = running_node(folder)
    if info is None or not info.pid:
        raise ConfigError(f"{folder}: its node does not run, or is not up yet")
    check_namespace(folder, info)
    request_level(folder, level)
    os.kill(info.pid, signal.SIGUSR2)
    ends_s = time.monotonic() + _WAIT_S
    while is_level_requested(folder):
        if time.monotonic() > ends_s:
            raise StorageError(f"{folder}: process {info.pid} has not taken the request; it will when it can")
        time.sleep(_STEP_S)
    if as_json:
        print_json({"level": level, "process": info.pid})
    else:
        click.echo(f"level {level}, process {info.pid}")


@click.command("support-bundle")
@folder_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="Where to; a new .tar.gz.")
@json_option
def support_bundle(folder: Path, output: Path, as_json: bool) -> None:
    """Collect what helps to find out what is wrong with the node in DIR, whether it runs or not.

    Settings in force, versions, doctor, status, peers, metrics, the last lines of the log, evidence of a
    divergence. No key, password or sign-state is in it. Addresses of peers are: look before you publish it.
    """
    from cherrydag.cli.bundling import write_bundle

    names = write_bundle(folder, output)
    if as_json:
        print_json({"file": str(output), "members": names})
    else:
        click.echo(f"{output}: {', '.join(names)}")


COMMANDS: Final = (log_level, support_bundle)
