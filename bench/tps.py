"""`bench.py tps`: how many transfers a second a network of real processes makes final, and how late.

Validators run as `cherrydag run`: TLS between them, real disks, a sync for everything that is signed. The
transfers are signed before the clock starts and sent through the public API by processes of their own, at
fixed moments, whatever becomes of the earlier ones. A transfer counts when the node that was asked tells its
submitter that it is final on its disk. Latency begins at the moment that was intended: a late send, a retry,
a wait for a connection are part of it. Exit status 1 unless every transfer became final and was applied, but
for those that were refused and given up with --no-retry, and the nodes agree: digests and balances while they
run, then all logs are executed again and their roots compared.
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
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cherrydag import crypto
from cherrydag.bench import report
from cherrydag.bench.knee import KneeSearch, Step, is_good
from cherrydag.bench.load import Second
from cherrydag.bench.local_network import NetworkSpec, NodeFailed
from cherrydag.bench.local_run import PORTS_FROM, LocalSettings, loopback, run_local
from cherrydag.bench.measurement import Result
from cherrydag.bench.netlab import LinkRule, NetLab, Unsupported
from cherrydag.bench.plots import check_plot, plot_knee, plot_timeline
from cherrydag.bench.process_figures import machine
from cherrydag.errors import ConfigError
from cherrydag.params import RECORD_BYTES
from cherrydag.signing import Progress as Report

ROOT = Path(__file__).resolve().parent.parent
RAMP_FROM = 2_000
"""Transfers a second that the search for the knee begins with."""


def main(arguments: Sequence[str]) -> int:
    """Measure; 0 if all went well."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.plot is not None:
            check_plot(options.plot)
        with ExitStack() as stack:
            return _Bench(options, stack).measure()
    except (ConfigError, NodeFailed, Unsupported, ConnectionError) as error:
        print(f"bench tps: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench.py tps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    load = parser.add_mutually_exclusive_group()
    load.add_argument("--rate", type=float, default=1000.0, metavar="R", help="transfers/s  [1000]")
    load.add_argument("--ramp", action="store_true", help="find the highest rate within --bound-ms")
    load.add_argument("--max", action="store_true", help="as fast as it goes: each waits for the one before")
    parser.add_argument("--validators", type=int, default=4, metavar="N")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="of load, warm-up included")
    parser.add_argument("--warm-up", type=float, default=4.0, metavar="S", help="that does not count  [4]")
    parser.add_argument("--accounts", type=int, default=20_000, metavar="N", help="that send and receive")
    parser.add_argument("--batch-ms", type=int, default=20, metavar="MS", help="due together  [20]")
    parser.add_argument("--connections", type=int, default=64, metavar="N", help="to each node  [64]")
    parser.add_argument(
        "--no-retry", action="store_true", help="what is refused for lack of room is not sent again"
    )
    parser.add_argument("--clients", type=int, default=1, metavar="N", help="processes that send  [1]")
    parser.add_argument(
        "--max-rate", type=float, default=64_000.0, metavar="R", help="of --ramp, --max [64000]"
    )
    parser.add_argument("--bound-ms", type=float, default=1000.0, metavar="MS", help="p99 of --ramp  [1000]")
    parser.add_argument("--delay-ms", type=float, metavar="D", help="one-way, between validators; needs root")
    parser.add_argument("--jitter-ms", type=float, default=0.0, metavar="J", help="of that delay")
    parser.add_argument(
        "--kill", action="append", default=[], metavar="I@T", help="kill -9 node I at second T"
    )
    parser.add_argument("--tabs", type=int, default=0, metavar="N", help="of the explorer, open at node 0")
    parser.add_argument("--profile", type=int, metavar="I", help="sample node I's main thread")
    parser.add_argument("--no-audit", action="store_true", help="do not execute the logs again")
    parser.add_argument("--port", type=int, default=PORTS_FROM, metavar="P", help="first to try  [27000]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, metavar="D", help="where the nodes' folders are made, and left")
    parser.add_argument("--workloads", type=Path, metavar="D", help="where signed transfers are kept")
    parser.add_argument("--json", type=Path, metavar="F", help="write all figures; - for stdout, alone")
    parser.add_argument("--plot", type=Path, metavar="F", help="a picture, .png or .svg")
    return parser


class _Bench:
    """What the command line asks for."""

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self._options = options
        self._stack = stack
        self._console = Console(stderr=True)
        self._is_quiet = str(options.json) == "-"
        if options.dir is None:
            self._base = Path(tempfile.mkdtemp(prefix="cherrydag-tps-"))
            stack.callback(shutil.rmtree, self._base, ignore_errors=True)
        else:
            self._base = options.dir
            self._base.mkdir(parents=True, exist_ok=True)
            if any(self._base.iterdir()):
                raise ConfigError(f"{self._base}: it is not empty")
        self._workloads = options.workloads or ROOT / "build" / "workloads"
        self._spec, self._prefixes = self._network()
        self._runs = 0

    def _network(self) -> tuple[NetworkSpec, list[list[str]]]:
        options = self._options
        if options.delay_ms is None:
            spec = loopback(options.validators, options.accounts, options.seed, first_port=options.port)
            return spec, []
        lab = self._stack.enter_context(NetLab(options.validators))
        lab.set_all(LinkRule(delay_ms=options.delay_ms, jitter_ms=options.jitter_ms))
        numbers = range(options.validators)
        peers = tuple(f"{lab.address(number)}:{PORTS_FROM}" for number in numbers)
        apis = tuple(f"{lab.control_address(number)}:{PORTS_FROM + 1}" for number in numbers)
        spec = NetworkSpec(peers, apis, options.accounts, options.seed)
        return spec, [list(lab.prefix(number)) for number in numbers]

    def measure(self) -> int:
        """Once, or as often as the search for the knee wants."""
        if self._options.ramp:
            return self._ramp()
        rate = None if self._options.max else self._options.rate
        transfers = self._options.max_rate if rate is None else rate
        settings = self._settings(rate, round(transfers * self._options.seconds))
        result = self._run(settings)
        self._tell(settings, result)
        if self._options.plot is not None:
            plot_timeline(result, self._title(), self._options.plot)
        return int(bool(result.failures))

    def _ramp(self) -> int:
        options = self._options
        search = KneeSearch(min(RAMP_FROM, options.max_rate), options.max_rate)
        transfers = round(options.max_rate * options.seconds)
        results, failed = [], False
        while (rate := search.next_rate) is not None:
            settings = self._settings(rate, transfers)
            result = self._run(settings)
            results.append({"rate": rate, **result.as_dict()})
            p50, p99 = result.latency_ms["p50"], result.latency_ms["p99"]
            lost = [one for one in result.failures if "drain" not in one]  # a backlog is no fault of its own
            failed |= bool(lost)
            good = is_good(
                result.offered_rate, result.final_rate, p99, options.bound_ms, len(result.failures)
            )
            search.steps.append(Step(rate, result.final_rate, p50, p99, result.cpu_us["all"], good))
            self._say(
                f"{rate:,.0f}/s: final {result.final_rate:,.0f}/s, p50 {p50:,.0f} ms, p99 {p99:,.0f} ms, "
                f"{result.cpu_us['all']:g} us of CPU a transfer, others used {result.others_cores:g} cores, "
                f"{result.stolen_cores:g} were stolen"
                + "".join(f"\n  FAILED: {one}" for one in result.failures)
            )
        found = {
            "bound_ms": options.bound_ms,
            "steps": [step._asdict() for step in search.steps],
            "knee": search.best and search.best._asdict(),
            "runs": results,
        }
        self._write(found, settings)
        if not self._is_quiet:
            print("\n".join(report.knee_lines(search.steps, search.best, options.bound_ms)))
        if options.plot is not None:
            plot_knee(search.steps, options.bound_ms, self._title(), options.plot)
        return int(failed)

    def _settings(self, rate: float | None, transfers: int) -> LocalSettings:
        options = self._options
        self._runs += 1
        programs: dict[int, Sequence[str]] = {}
        if options.profile is not None:
            script, stacks = ROOT / "bench" / "profiled_node.py", self._base / f"stacks-v{options.profile}"
            programs[options.profile] = (sys.executable, str(script), str(stacks))
        return LocalSettings(
            spec=self._spec,
            folder=self._base / f"run{self._runs}",
            workloads=self._workloads,
            transfers=transfers,
            seconds=options.seconds,
            rate=rate,
            warm_up_s=options.warm_up,
            batch_ms=options.batch_ms,
            connections=8 if rate is None else options.connections,
            clients=options.clients,
            retries=not options.no_retry,
            kills=tuple(_kill(text, options.validators) for text in options.kill),
            is_audited=not options.no_audit,
            tabs=options.tabs,
            prefixes=self._prefixes,
            programs=programs,
        )

    def _run(self, settings: LocalSettings) -> Result:
        with _seconds_bar(self._console, settings) as tell:
            result = run_local(settings, self._bar, tell)
        if self._options.dir is None and self._options.profile is None:
            shutil.rmtree(settings.folder)
        return result

    @contextmanager
    def _bar(self, title: str) -> Iterator[Report]:
        columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title)
            yield lambda done, total: progress.update(task, completed=done, total=total)

    # What is told

    def _say(self, words: str) -> None:
        print(words, file=sys.stderr if self._is_quiet else sys.stdout, flush=True)

    def _tell(self, settings: LocalSettings, result: Result) -> None:
        self._write(result.as_dict(), settings)
        if not self._is_quiet:
            told = report.lines(result, self._shown(settings), machine(self._base, ROOT))
            print("\n".join(told), flush=True)

    def _write(self, figures: dict[str, Any], settings: LocalSettings) -> None:
        if self._options.json is None:
            return
        document = {
            "name": "bench_tps",
            "machine": machine(self._base, ROOT),
            "settings": self._shown(settings),
            **figures,
        }
        text = json.dumps(document, indent=None if self._is_quiet else 1)
        if self._is_quiet:
            print(text)
        else:
            self._options.json.write_text(text + "\n")

    def _shown(self, settings: LocalSettings) -> dict[str, Any]:
        options = self._options
        return {
            "validators": options.validators,
            "rate": settings.rate or "as fast as it goes, closed loop",
            "seconds": settings.seconds,
            "warm_up_s": settings.warm_up_s,
            "accounts": options.accounts,
            "record_bytes": RECORD_BYTES,
            "signatures": f"Ed25519, checked by every node ({crypto.backend()})",
            "tls": True,
            "fsync": True,
            "batch_ms": settings.batch_ms,
            "connections": settings.connections,
            "clients": settings.clients,
            "retries": settings.retries,
            "checkpoint_commits": settings.spec.checkpoint_commits,
            "delay_ms": options.delay_ms or 0,
            "jitter_ms": options.jitter_ms,
            "kills": [list(kill) for kill in settings.kills],
            "tabs": settings.tabs,
            "seed": options.seed,
        }

    def _title(self) -> str:
        delay = f", {self._options.delay_ms:g} ms one-way delay" if self._options.delay_ms else ""
        where = machine(self._base, ROOT)
        return (
            f"{self._options.validators} validators{delay}: signed transfers of {RECORD_BYTES} bytes, TLS, "
            "fsync\n"
            f"{where['cpu']}, {where['cores']} cores for all of it, {where['python']}, {where['commit']}"
        )


@contextmanager
def _seconds_bar(console: Console, settings: LocalSettings) -> Iterator[Any]:
    """A bar that moves with the load's seconds, and says how it goes."""
    columns = (TextColumn("load"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=settings.seconds, start=False)

        def tell(rate: float, told: Sequence[Second]) -> None:
            queued = sum(second.queued for second in told)
            p50_ms = max((second.latencies.quantile(0.5) for second in told), default=0) / 1e3
            progress.start_task(task)
            words = f"{rate:,.0f}/s final, p50 {p50_ms:,.0f} ms, {queued:,} wait"
            progress.update(task, advance=1 / settings.clients, description=words)

        yield tell


def _kill(text: str, validators: int) -> tuple[int, float]:
    number, _, second = text.partition("@")
    try:
        found = int(number), float(second)
    except ValueError:
        raise ConfigError(f"--kill: expected I@T, as 3@10, got {text!r}") from None
    if not 0 <= found[0] < validators:
        raise ConfigError(f"--kill: there is no node {found[0]}")
    return found


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
