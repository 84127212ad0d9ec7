"""`bench.py catchup`: how many transfers a second a fresh node takes from the others until it has caught up.

Validators run as `cherrydag run`, with TLS between them and a sync for what they write. They make a history
without the late node: an observer, or with --late validator one of theirs, so that they go on with one
missing. All are stopped and started again, then the late node, with nothing but its keys and the genesis. It
fetches, checks, executes, indexes and makes durable all that it lacks, while they serve it and, with --load,
go on. All of them share the cores of this machine. Exit status 1 unless it caught up, all agree, and its log
gives the state that another one's gives.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cherrydag import crypto
from cherrydag.bench.catching_up import CatchUp, CatchUpSettings, run_catch_up
from cherrydag.bench.local_network import NodeFailed
from cherrydag.bench.local_run import PORTS_FROM, loopback
from cherrydag.bench.process_figures import machine
from cherrydag.errors import ConfigError
from cherrydag.params import RECORD_BYTES
from cherrydag.signing import Progress as Report

ROOT = Path(__file__).resolve().parent.parent
PER_LINE = 5
"""Moments of the timeline between two that are shown."""


def main(arguments: Sequence[str]) -> int:
    """Measure; 0 if all went well."""
    options = _parser().parse_args(arguments)
    try:
        with ExitStack() as stack:
            return _measure(options, stack)
    except (ConfigError, NodeFailed, ConnectionError) as error:
        print(f"bench catchup: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench.py catchup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--late", choices=("observer", "validator"), default="observer", help="[observer]")
    parser.add_argument("--validators", type=int, default=4, metavar="N", help="[4]")
    parser.add_argument("--rate", type=float, default=15_000.0, metavar="R", help="of the history  [15000]")
    parser.add_argument("--seconds", type=float, default=40.0, metavar="S", help="of the history  [40]")
    parser.add_argument("--load", type=float, default=0.0, metavar="R", help="transfers/s meanwhile  [0]")
    parser.add_argument("--patience", type=float, default=60.0, metavar="S", help="it may take  [60]")
    parser.add_argument("--accounts", type=int, default=20_000, metavar="N", help="that send and receive")
    parser.add_argument("--profile", type=int, metavar="I", help="sample node I's main thread")
    parser.add_argument("--no-audit", action="store_true", help="do not execute the logs again")
    parser.add_argument("--port", type=int, default=PORTS_FROM, metavar="P", help="first to try  [27000]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, metavar="D", help="where the nodes' folders are made, and left")
    parser.add_argument("--history", type=Path, metavar="D", help="where a history is kept, for other runs")
    parser.add_argument("--workloads", type=Path, metavar="D", help="where signed transfers are kept")
    parser.add_argument("--json", type=Path, metavar="F", help="write all figures; - for stdout, alone")
    return parser


def _measure(options: argparse.Namespace, stack: ExitStack) -> int:
    base = options.dir
    if base is None:
        base = Path(tempfile.mkdtemp(prefix="cherrydag-catchup-"))
        stack.callback(shutil.rmtree, base, ignore_errors=True)
    programs: dict[int, Sequence[str]] = {}
    if options.profile is not None:
        script = ROOT / "bench" / "profiled_node.py"
        programs[options.profile] = (sys.executable, str(script), str(base / f"stacks-v{options.profile}"))
    console = Console(stderr=True)
    settings = CatchUpSettings(
        spec=loopback(
            options.validators,
            options.accounts,
            options.seed,
            observers=int(options.late == "observer"),
            first_port=options.port,
        ),
        folder=base / "run",
        history=options.history or base / "history",
        workloads=options.workloads or ROOT / "build" / "workloads",
        rate=options.rate,
        seconds=options.seconds,
        meanwhile=options.load,
        patience_s=options.patience,
        is_audited=not options.no_audit,
        programs=programs,
    )

    @contextmanager
    def bar(title: str) -> Iterator[Report]:
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(title)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    with console.status("start") as status:
        result = run_catch_up(settings, bar, status.update)
    told = {
        "name": "bench_catchup",
        "machine": machine(base, ROOT),
        "settings": _shown(options),
        **result.as_dict(),
    }
    if str(options.json) == "-":
        print(json.dumps(told))
    else:
        if options.json is not None:
            options.json.write_text(json.dumps(told, indent=1) + "\n")
        print("\n".join(_lines(result, told)))
    return int(bool(result.failures))


def _shown(options: argparse.Namespace) -> dict[str, object]:
    return {
        "validators": options.validators,
        "late": options.late,
        "history": round(options.rate * options.seconds),
        "history_rate": options.rate,
        "load": options.load,
        "accounts": options.accounts,
        "record_bytes": RECORD_BYTES,
        "tls": True,
        "fsync": True,
        "backend": crypto.backend(),
        "seed": options.seed,
    }


def _lines(result: CatchUp, told: dict[str, object]) -> Iterator[str]:
    for title in ("machine", "settings"):
        values = told[title]
        if isinstance(values, dict):
            yield f"{title}: " + ", ".join(f"{name.replace('_', ' ')} {it}" for name, it in values.items())
    yield ""
    yield f"  first commit after {result.start_s:g} s, caught up {result.seconds:g} s later"
    yield f"  transfers, commits {result.transfers:,}, {result.commits:,}"
    yield f"  rate               {result.rate:,.0f} transfers/s"
    yield f"  load beside it     {result.load_rate:,.0f} transfers/s final"
    yield "  CPU us a transfer  " + ", ".join(f"{name} {us:g}" for name, us in result.cpu_us.items())
    threads = result.threads_us.items()
    yield "    the late node's  " + ", ".join(
        f"{name} {us:g} (waited {late:g})" for name, (us, late) in threads
    )
    yield f"  cores              {result.busy_cores:g} used by all of it, {result.others_cores:g} by others"
    yield "  resident MiB       " + ", ".join(f"{name} {mib}" for name, mib in result.rss_mib.items())
    yield f"  {'second':>8} {'commit':>8} {'others':>8} {'transfers':>10}"
    for second, own, others, transfers in [*result.timeline[:-1:PER_LINE], result.timeline[-1]]:
        yield f"  {second:>8.1f} {own:>8,} {others:>8,} {transfers:>10,}"
    yield from (f"FAILED: {failure}" for failure in result.failures)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
