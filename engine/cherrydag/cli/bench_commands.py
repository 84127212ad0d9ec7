"""The command that measures a network: `cherrydag bench`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cherrydag.cli.exits import Exit
from cherrydag.cli.options import PATH, json_option, password_option
from cherrydag.cli.output import Progress, print_json, progress_bar
from cherrydag.cli.passwords import with_password

if TYPE_CHECKING:
    from cherrydag.bench.load import Second
    from cherrydag.signing import KeyPair


@click.command()
@click.option(
    "--target", "targets", multiple=True, required=True, metavar="URL", help="A node; may be repeated."
)
@click.option("--key", "name", metavar="NAME", help="Whose coins it costs; the rest stays with new accounts.")
@click.option("--keystore", type=PATH, help="Folder of that key.")
@click.option("--faucet", is_flag=True, help="Let the first node's faucet pay.")
@click.option("--rate", type=click.FloatRange(1, 1_000_000), default=1000.0, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 86_400), default=20.0, show_default=True)
@click.option("--accounts", type=click.IntRange(2, 100_000), default=1000, show_default=True)
@click.option("--batch-ms", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--plot", type=PATH, help="A picture, .png or .svg; needs matplotlib.")
@password_option
@json_option
def bench(
    targets: tuple[str, ...],
    name: str | None,
    keystore: Path | None,
    faucet: bool,
    rate: float,
    seconds: float,
    accounts: int,
    batch_ms: int,
    plot: Path | None,
    password_file: Path | None,
    as_json: bool,
) -> int:
    """Measure the network of some nodes: transfers a second, and how late they are final.

    New accounts get coins, then their transfers are sent at a fixed rate whatever the answers are. Latency is
    from the moment at which a transfer was due until the node says that it is final. The exit code is 5
    unless all of them are. Only for networks that are yours: it is a load.
    """
    from cherrydag.bench.plots import check_plot, plot_timeline
    from cherrydag.bench.process_figures import machine
    from cherrydag.bench.remote_run import RemoteSettings, run_remote
    from cherrydag.bench.report import lines

    if plot is not None:
        check_plot(plot)
    settings = RemoteSettings(
        urls=tuple(url.rstrip("/") for url in targets),
        payer=_payer(name, keystore, faucet, password_file),
        rate=rate,
        seconds=seconds,
        accounts=accounts,
        batch_ms=batch_ms,
    )

    def bar(title: str) -> AbstractContextManager[Progress]:
        return progress_bar(title, hidden=as_json)

    with _load_bar(seconds, as_json) as tell:
        result = run_remote(settings, bar, tell)
    shown = {
        "targets": list(settings.urls),
        "rate": rate,
        "seconds": seconds,
        "warm_up_s": settings.warm_up_s,
        "accounts": accounts,
        "batch_ms": batch_ms,
        "connections": settings.connections,
    }
    where = machine()
    if as_json:
        print_json({"name": "bench", "machine": where, "settings": shown, **result.as_dict()})
    else:
        for line in lines(result, shown, where):
            click.echo(line)
    if plot is not None:
        plot_timeline(result, f"{', '.join(settings.urls)}: {rate:g} transfers/s", plot)
    return Exit.REJECTED if result.failures else Exit.OK


def _payer(name: str | None, keystore: Path | None, faucet: bool, password: Path | None) -> "KeyPair | None":
    """Whose coins it costs; None: the faucet's."""
    from cherrydag.keystore import Keystore

    if faucet:
        if name is not None or keystore is not None:
            raise click.UsageError("--faucet pays without a key")
        return None
    if name is None or keystore is None:
        raise click.UsageError("who pays? give --key and --keystore, or --faucet")
    store = Keystore(keystore)
    return with_password(password, lambda text: store.load(name, text))


@contextmanager
def _load_bar(seconds: float, hidden: bool) -> "Iterator[Callable[[float, Sequence[Second]], None]]":
    """A bar that moves with the load's seconds."""
    passed = count(1)
    with progress_bar("load", hidden=hidden) as progress:
        yield lambda _rate, _told: progress(min(next(passed), round(seconds)), round(seconds))
