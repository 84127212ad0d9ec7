"""How a devnet is shown: a live table on a terminal, a line a second elsewhere, or JSON for programs."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TextIO

from cherrydag.devnet.figures import Figures, Latency, LoadFigures, NodeFigures

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_MB: Final = 1_000_000


class Started(NamedTuple):
    """What a devnet is when it is ready. seconds: since its first process began; commands: what to try, each
    with a word of what it does; delay_ms: between two nodes, one way."""

    seconds: float
    folder: str
    is_kept: bool
    nodes: Sequence[tuple[str, str, str]]
    user_address: str
    user_key_file: str
    genesis_digest: str
    commands: Sequence[tuple[str, str]]
    delay_ms: float = 0.0


class Ended(NamedTuple):
    """A process that has ended by itself. lines: the last ones that it has said; restart: the command."""

    name: str
    code: int
    log: str
    lines: Sequence[str]
    restart: str


class View(Protocol):
    """Where it is shown."""

    def started(self, started: Started) -> None:
        """It is ready."""

    def figures(self, figures: Figures) -> None:
        """A second has passed."""

    def ended(self, ended: Ended) -> None:
        """A process has ended by itself."""

    def close(self) -> None:
        """That is all."""


# For people


class TerminalView:
    """A table that stays in its place; what is said stands above it."""

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)

    def started(self, started: Started) -> None:
        """What to do with it, and a table that is empty yet."""
        for line in started_lines(started):
            self._console.print(line, soft_wrap=True, markup=False)
        self._live.start()

    def figures(self, figures: Figures) -> None:
        """Draw the table anew."""
        self._live.update(_panel(figures), refresh=True)

    def ended(self, ended: Ended) -> None:
        """Above the table."""
        for line in ended_lines(ended):
            self._console.print(line, style="red", soft_wrap=True, markup=False)

    def close(self) -> None:
        """Leave the last table where it is."""
        self._live.stop()


class LineView:
    """A line a second."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def started(self, started: Started) -> None:
        """What to do with it."""
        self._print(started_lines(started))

    def figures(self, figures: Figures) -> None:
        """One line."""
        self._print([figures_line(figures)])

    def ended(self, ended: Ended) -> None:
        """Its last words."""
        self._print(ended_lines(ended))

    def close(self) -> None:
        """Nothing."""

    def _print(self, lines: Sequence[str]) -> None:
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()


def started_lines(started: Started) -> list[str]:
    """Addresses, a key with coins, and how to send."""
    kept = "" if started.is_kept else ", removed at the end"
    lines = [
        f"devnet of {len(started.nodes)} nodes, ready in {started.seconds:.1f} s; Ctrl-C ends it",
        f"  folder   {started.folder}{kept}",
        f"  genesis  {started.genesis_digest}",
    ]
    if started.delay_ms:
        lines.append(f"  delay    {started.delay_ms:g} ms one way between any two nodes, none to their APIs")
    lines += [f"  {name:<8} API {url}   peers {peers}" for name, url, peers in started.nodes]
    lines.append(f"  explorer {started.nodes[0][1]}/")
    lines += [f"  coins    {started.user_address}", f"           key in {started.user_key_file}"]
    lines += [f"  {what:<8} {command}" for what, command in started.commands]
    return [*lines, ""]


def ended_lines(ended: Ended) -> list[str]:
    """That it has ended, and why as far as it says."""
    how = f"exit code {ended.code}" if ended.code >= 0 else f"signal {-ended.code}"
    lines = [f"{ended.name} has ended: {how}; the others go on. Its log, {ended.log}, ends:"]
    lines += [f"  | {line}" for line in ended.lines or ["(nothing)"]]
    return [*lines, f"  start it again: {ended.restart}"] if ended.restart else lines


def figures_line(figures: Figures) -> str:
    """Everything in one line."""
    nodes = figures.nodes
    ready = sum(node.is_ready for node in nodes)
    rounds = [node.round for node in nodes if node.round >= 0]
    parts = [
        f"{figures.time_s:6.0f} s",
        f"{figures.final_per_s:8,.0f} tx/s final",
        f"{figures.commits_per_s:5.1f} commits/s",
        f"finality {latency_text(figures.probes)}",
        f"round {max(rounds, default=0)}",
        f"ready {ready}/{len(nodes)}",
        f"memory {_megabytes(figures.pss_bytes)} MB",
    ]
    if figures.load is not None:
        parts.append(f"load {load_text(figures.load)}")
    return "  ".join(parts)


def latency_text(latency: Latency | None) -> str:
    """The half and the 99th percentile."""
    return "-" if latency is None else f"p50 {latency.p50_ms:.0f} p99 {latency.p99_ms:.0f} ms"


def load_text(load: LoadFigures) -> str:
    """What came of the load."""
    failed = f", {load.failed:,} failed" if load.failed else ""
    return f"{load.final:,} of {load.offered:,} final{failed}, {latency_text(load.latency)}"


def _panel(figures: Figures) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    failed = f"   {figures.probes_failed} failed" if figures.probes_failed else ""
    lines = [
        "   ".join(
            (
                f"{figures.time_s:.0f} s",
                f"{figures.final_per_s:,.0f} tx/s final",
                f"{figures.commits_per_s:.1f} commits/s",
                f"{figures.transactions:,} transactions",
            )
        ),
        f"finality of probes: {latency_text(figures.probes)}{failed}",
    ]
    if figures.load is not None:
        lines.append(f"load: {load_text(figures.load)}")
    return Group(Text("\n".join(lines)), nodes_table(figures))


def nodes_table(figures: Figures) -> "Table":
    """A row for each node, one for the process that watches, and one for all."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for name in ("node", "state"):
        shown.add_column(name)
    for name in ("round", "commit", "linked", "RSS MB", "PSS MB", "pid"):
        shown.add_column(name, justify="right")
    for node in figures.nodes:
        answers = node.commit_index >= 0
        shown.add_row(
            node.name,
            _state(node),
            f"{node.round:,}" if answers else "-",
            f"{node.commit_index:,}" if answers else "-",
            f"{node.linked} of {node.others}" if node.others >= 0 else "-",
            _megabytes(node.rss_bytes),
            _megabytes(node.pss_bytes),
            str(node.pid),
            style=None if node.is_ready else "red",
        )
    for name, rss, pss in (
        ("devnet", figures.own_rss_bytes, figures.own_pss_bytes),
        ("all", figures.rss_bytes, figures.pss_bytes),
    ):
        shown.add_row(name, "", "", "", "", _megabytes(rss), _megabytes(pss), "", style="dim")
    return shown


def _state(node: NodeFigures) -> str:
    if node.commit_index < 0:
        return "no answer" if node.is_running else "ended"
    return "ready" if node.is_ready else "not ready"


def _megabytes(count: int) -> str:
    return f"{count / _MB:.0f}"


# For programs


class JsonView:
    """One JSON document a line: "event" is ready, figures or ended."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def started(self, started: Started) -> None:
        """The first line."""
        names = ("name", "url", "peers")
        nodes = [dict(zip(names, node, strict=True)) for node in started.nodes]
        form = {"event": "ready", **started._asdict(), "nodes": nodes}
        self._print(form | {"commands": [command for _, command in started.commands]})

    def figures(self, figures: Figures) -> None:
        """A line a second."""
        self._print({"event": "figures", **_form(figures)})

    def ended(self, ended: Ended) -> None:
        """A process that has ended by itself."""
        self._print({"event": "ended", **ended._asdict()})

    def close(self) -> None:
        """Nothing."""

    def _print(self, form: dict[str, object]) -> None:
        self._out.write(json.dumps(form) + "\n")
        self._out.flush()


def _form(value: NamedTuple) -> dict[str, object]:
    return {name: _plain(found) for name, found in value._asdict().items()}


def _plain(value: object) -> object:
    """As JSON has it; fractions with three decimals."""
    if isinstance(value, tuple):
        if isinstance(value, Latency | LoadFigures | NodeFigures):
            return _form(value)
        return [_plain(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value
