"""How results are printed: words for people, one JSON document for programs, progress on a terminal."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, TypeAlias

import click

COIN: Final = "coin"
"""The unit of the native coin; its smallest unit is 10^-18 of it."""

COIN_DECIMALS: Final = 18

_NATIVE: Final = 0

Progress: TypeAlias = Callable[[int, int], None]
"""Called as (done, total)."""


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=2))


def print_fields(fields: Mapping[str, object]) -> None:
    """A line for each, the values below each other."""
    width = max(map(len, fields))
    for name, value in fields.items():
        click.echo(f"{name:<{width}}  {plain(value)}")


def print_table(names: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Columns under their names; those in `right` are numbers. Nothing is cut: texts can be copied."""
    texts = [list(names), *[[plain(value) for value in row] for row in rows]]
    widths = [max(len(text[column]) for text in texts) for column in range(len(names))]
    for text in texts:
        cells = [
            value.rjust(width) if name in right else value.ljust(width)
            for name, value, width in zip(names, text, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def plain(value: object) -> str:
    """A value as text that steers no terminal: it may be of a node that lies."""
    text = str(value)
    if text.isprintable():
        return text
    escaped = (char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text)
    return "".join(char if char.isprintable() else code for char, code in zip(text, escaped, strict=True))


def note(words: str) -> None:
    """A line on stderr that is no error."""
    click.echo(words, err=True)


# Values


def amount_text(amount: int, asset: int = _NATIVE) -> str:
    """An amount, exact: of the native coin in coins, of others in smallest units."""
    if asset != _NATIVE:
        return f"{amount:_} of asset {asset}"
    whole, rest = divmod(amount, 10**COIN_DECIMALS)
    decimals = f"{rest:0{COIN_DECIMALS}}".rstrip("0")
    return f"{whole:_}{'.' if decimals else ''}{decimals} {COIN}"


def time_text(time_s: int) -> str:
    """Unix seconds in UTC. A first commit, whose parents are the genesis, has no time, which is 0."""
    if not time_s:
        return "-"
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def bytes_text(count: int) -> str:
    """A size in the largest unit of which there is one."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


# Progress


@contextmanager
def progress_bar(title: str, *, hidden: bool = False) -> Iterator[Progress]:
    """A bar on stderr if that is a terminal; what is called with (done, total) moves it, from any thread."""
    if hidden or not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _ignore(done: int, total: int) -> None:
    """Nobody looks."""
