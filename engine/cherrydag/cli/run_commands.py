"""Commands that run a node."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cherrydag.cli.options import PATH, folder_argument, json_option
from cherrydag.cli.output import note
from cherrydag.cli.passwords import with_password

if TYPE_CHECKING:
    from cherrydag.daemon import Listening


@click.command()
@folder_argument
@click.option("--config", "file", type=PATH, help="Settings.  [default: config.toml in DIR]")
@click.option("--peers", metavar="IP:PORT", help="Where to listen for peers; '' to dial only.")
@click.option("--api", metavar="IP:PORT", help="Where to listen for clients; port 0 for any, '' for no API.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another setting, as peers.others_max=8; may be repeated.",
)
@click.option("--faucet", metavar="NAME", help="A key in DIR that gives coins to whoever asks.")
@click.option(
    "--password-file",
    type=PATH,
    envvar="CHERRYDAG_PASSWORD_FILE",
    show_envvar=True,
    help="Read the password of the node's key from the first line of this file, instead of asking for it.",
)
@click.option("--leave-safe-mode", is_flag=True, help="The crashes are understood: begin as ever.")
@click.option(
    "--clear-divergence", is_flag=True, help="The cause is gone: sign again. The evidence is set aside."
)
@json_option
def run(
    folder: Path,
    file: Path | None,
    peers: str | None,
    api: str | None,
    settings: tuple[str, ...],
    faucet: str | None,
    password_file: Path | None,
    leave_safe_mode: bool,
    clear_divergence: bool,
    as_json: bool,
) -> None:
    """Run the node in DIR until it is told to stop, by SIGINT or SIGTERM.

    When it is up it prints where it listens. Its log goes to stderr. A signal lets it stop within ten
    seconds: it takes nothing new, what it has accepted becomes final, its peers are told. A second signal
    shortens that. Settings: flags before CHERRYDAG_SECTION_NAME before the file; `config check` shows them.
    SIGUSR2 reads the log's level anew from there, SIGUSR1 goes to the next one; `log-level` sets it.
    """
    import sys

    import uvloop

    from cherrydag.cli.configuring import flags_of, loaded
    from cherrydag.config import check
    from cherrydag.daemon import Daemon
    from cherrydag.daemon_options import options_of
    from cherrydag.logs import EventLog, RecentLines, forget_request, take_library_lines, take_request
    from cherrydag.runtime.clock import Clock
    from cherrydag.runtime.home import VALIDATOR, Home

    home = Home.load(folder)
    flags = flags_of(settings, {"peers.listen": peers, "api.listen": api, "faucet.key": faucet})
    config = loaded(folder, file, flags).config
    key = with_password(password_file, lambda password: home.key(VALIDATOR, password))
    warnings = check(config, home.genesis, key.public_key)
    options = options_of(config, home, key)
    log = EventLog(
        sys.stderr,
        Clock().now_ms,
        level=config.log.level,
        as_json=config.log.format == "json" or (config.log.format == "auto" and not sys.stderr.isatty()),
        rate=config.log.rate,
        name=config.node.name,
        recent=RecentLines(folder),
    )
    take_library_lines(log)
    forget_request(folder)
    for words in warnings:
        log("config_warning", words=words)

    def ready(listening: "Listening") -> None:
        _tell(listening, as_json)

    def level() -> str:
        return take_request(folder) or loaded(folder, file, flags).config.log.level

    async def live() -> None:
        daemon = Daemon(home, options, log, key, ready, level)
        await daemon.run(leaves_safe_mode=leave_safe_mode, clears_divergence=clear_divergence)

    uvloop.run(live())


def _tell(listening: "Listening", as_json: bool) -> None:
    """On stdout, once it is up: for people, or one line for whoever has started it."""
    import json

    if as_json:
        click.echo(json.dumps(listening._asdict()))
        return
    click.echo(f"api    {listening.api or 'none'}")
    click.echo(f"peers  {listening.peers or 'none: it does not listen'}")
    if listening.freeze:
        note(f"only to be read: {listening.freeze}")
