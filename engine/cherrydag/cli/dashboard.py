"""The dashboard of `cherrydag top`: lines that fit a terminal of 80 columns and 24 lines, and keys."""

import math
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cherrydag.cli.node_figures import Rates, Sample, Series
from cherrydag.cli.output import bytes_text
from cherrydag.errors import PeerFault

REFRESH_S: Final = 1.0

_BARS: Final = "▁▂▃▄▅▆▇█"
_LABEL: Final = 11
_GOOD, _BAD, _DIM = "green", "bold red", "dim"


def lines(series: Series, url: str, width: int, height: int, state: str = "") -> Text:
    """The screen. state: '' while it goes on; else why it does not."""
    now, rates = series.now, series.rates()
    shown = [_title(now, url, width, state), _readiness(now)]
    shown += [_labelled(label, text) for label, text in _rows(series, now, rates)]
    shown.append(_labelled("tx/s", f"{bars(list(series.history), max(8, width - _LABEL - 22))}"))
    room = max(0, height - len(shown) - 1)
    shown += _validators(now, room)
    shown = shown[: max(1, height - 1)]
    shown.append(Text("q quit   p pause", style=_DIM))
    for line in shown:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(shown)


def _title(now: Sample, url: str, width: int, state: str) -> Text:
    version = next(iter(now.by_label("build_info")), "")
    head = f"cherrydag {version}  {url}"
    tail = state or time.strftime("%H:%M:%S")
    line = Text(f"{head}{tail:>{max(len(tail) + 1, width - len(head))}}", style="bold")
    if state:
        line.stylize(_BAD, len(line) - len(tail))
    return line


def _readiness(now: Sample) -> Text:
    reasons = [name for name, is_so in now.by_label("not_ready").items() if is_so]
    if reasons:
        return Text(f"not ready: {', '.join(reasons)}", style=_BAD)
    return Text("ready", style=_GOOD)


def _labelled(label: str, text: str) -> Text:
    line = Text(f"{label:<{_LABEL}}", style=_DIM)
    return line.append(text, style="not dim")


def _rows(series: Series, now: Sample, rates: Rates) -> Iterator[tuple[str, str]]:
    """A label and its figures, line by line."""
    yield from _chain_rows(series, now, rates)
    yield from _flow_rows(now, rates)
    yield from _process_rows(series, now, rates)


def _chain_rows(series: Series, now: Sample, rates: Rates) -> Iterator[tuple[str, str]]:
    get = now.value
    yield (
        "chain",
        (
            f"round {get('round'):,.0f} ({rates.rounds:.1f}/s)  commit {get('commit_index'):,.0f} "
            f"({rates.commits:.1f}/s)  last {_seconds(get('since_commit_seconds'))} ago"
        ),
    )
    yield (
        "",
        (
            f"certified {get('certified_index'):,.0f}  checkpoint {get('checkpoint_index'):,.0f}  "
            f"behind {get('commit_lag'):,.0f}  to execute {get('execution_waiting'):,.0f}"
        ),
    )
    yield (
        "tx",
        (
            f"offered {rates.offered:,.0f}/s  final {rates.transactions:,.0f}/s  "
            f"failed {rates.failed:,.0f}/s  refused {rates.refused:,.0f}/s"
        ),
    )
    name, kind = "transaction_finality_seconds", "transactions"
    if math.isnan(series.quantile(name, 0.5)):
        name, kind = "vertex_finality_seconds", "empty vertices"
    yield (
        "finality",
        f"p50 {_seconds(series.quantile(name, 0.5))}  p99 {_seconds(series.quantile(name, 0.99))}  of {kind}",
    )


def _flow_rows(now: Sample, rates: Rates) -> Iterator[tuple[str, str]]:
    get = now.value
    overload = "  OVERLOADED" if get("admission_overloaded") else ""
    yield (
        "mempool",
        (
            f"waiting {get('mempool_waiting'):,.0f}  taken {get('mempool_taken'):,.0f}  "
            f"of {get('mempool_transactions_limit'):,.0f}  unfunded {get('admission_held'):,.0f}{overload}"
        ),
    )
    yield (
        "gossip",
        (
            f"parked {get('pending_vertices'):,.0f}  missing {get('missing_parents'):,.0f}  "
            f"wanted {get('wanted_vertices'):,.0f}  window {get('window_vertices'):,.0f}"
        ),
    )
    yield (
        "store",
        (
            f"{bytes_text(int(get('store_used_bytes')))}  queued {get('store_queued'):,.0f}  "
            f"writes {_bytes(rates.written_bytes)}/s  disk free {_bytes(get('disk_free_bytes'))}"
        ),
    )
    yield (
        "peers",
        (
            f"{get('peers'):,.0f} linked  stake {get('linked_stake'):,.0f} "
            f"of quorum {get('quorum_stake'):,.0f}  "
            f"in {_bytes(rates.in_bytes)}/s  out {_bytes(rates.out_bytes)}/s"
        ),
    )
    yield (
        "",
        (
            f"queued {_bytes(now.sum('peer_queue_bytes'))}  equivocations {get('equivocations_total'):,.0f}  "
            f"penalties {get('penalties_total'):,.0f}  bans {get('peers_banned'):,.0f}"
        ),
    )


def _process_rows(series: Series, now: Sample, rates: Rates) -> Iterator[tuple[str, str]]:
    get = now.value
    late = series.quantile("loop_lateness_seconds", 0.99)
    yield (
        "API",
        (
            f"{get('rpc_connections'):,.0f} connections  {get('rpc_websockets'):,.0f} WebSockets  "
            f"{rates.calls:,.0f} calls/s  loop late p99 {_seconds(late)}"
        ),
    )
    yield (
        "workers",
        (
            f"{get('workers'):,.0f} threads  {100 * rates.workers_busy:.0f} % busy  "
            f"jobs queued {get('worker_jobs_queued'):,.0f}  refused {get('worker_jobs_refused_total'):,.0f}"
        ),
    )
    yield (
        "process",
        (
            f"CPU {100 * rates.cpu:.0f} %  memory {_bytes(get('process_resident_memory_bytes'))}  "
            f"files {get('process_open_fds'):.0f}  threads {get('process_threads'):.0f}  "
            f"clock {_offset(get('clock_offset_seconds'))}"
        ),
    )


def _validators(now: Sample, room: int) -> Iterator[Text]:
    """One line each of the other validators, those without a link first, as many as there is room for."""
    linked, rtts = now.by_label("peer_linked"), now.by_label("peer_rtt_seconds")
    queues = now.by_label("peer_queue_bytes")
    names = sorted(linked, key=lambda name: (linked[name], name))
    fitting = names if len(names) <= room else names[: max(0, room - 1)]
    for name in fitting:
        label = f"{name[: _LABEL - 1]:<{_LABEL}}"
        if not linked[name]:
            yield Text(f"{label}no link", style=_BAD)
            continue
        rtt = _seconds(rtts[name]) if name in rtts else "not known"
        yield _labelled(label, f"linked  round trip {rtt}  queued {_bytes(queues.get(name, 0))}")
    if len(fitting) < len(names) and room:
        yield Text(f"and {len(names) - len(fitting)} more validators", style=_DIM)


def bars(values: list[float], width: int) -> str:
    """The last values as bars of one line, and the highest."""
    values = values[-width:]
    if not values:
        return ""
    most = max(values)
    steps = [0 if not most else round(value / most * (len(_BARS) - 1)) for value in values]
    return f"{''.join(_BARS[step] for step in steps)}  {most:,.0f} at most"


def _seconds(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    if value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s"


def _offset(value: float) -> str:
    return f"{1000 * value:+.0f} ms" if math.isfinite(value) else "-"


def _bytes(value: float) -> str:
    return bytes_text(int(value)) if math.isfinite(value) else "-"


# The terminal


def run(url: str, look: Callable[[], Sample]) -> None:
    """Show a node until q. look: asks it; ConnectionError or PeerFault if it gives no answer."""
    series, console = Series(), Console()
    series.add(look())
    state, is_paused, due_s = "", False, time.monotonic() + REFRESH_S
    with _keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(lines(series, url, *console.size, state), refresh=True)
            pressed = key(max(0.0, due_s - time.monotonic()))
            if pressed in ("q", "Q", "\x1b", "\x03"):
                return
            if pressed in ("p", "P"):
                is_paused = not is_paused
                state = "paused" if is_paused else ""
            if time.monotonic() < due_s:
                continue
            due_s = time.monotonic() + REFRESH_S
            if not is_paused:
                state = _refresh(series, look)


def _refresh(series: Series, look: Callable[[], Sample]) -> str:
    """Why there is nothing new, '' if there is."""
    try:
        series.add(look())
    except (ConnectionError, PeerFault) as error:
        return f"no answer: {error}"[:40]
    return ""


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """What waits so many seconds for a key, '' for none; the terminal is as before afterwards."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def key(wait_s: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], wait_s)
        return os.read(descriptor, 1).decode("ascii", "replace") if ready else ""

    tty.setcbreak(descriptor)
    try:
        yield key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
