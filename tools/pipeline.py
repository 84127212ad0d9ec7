#!/usr/bin/env python3
"""How many transfers a second the embedded ledger makes final, beside databases in the same run.

    python3 tools/pipeline.py [--transfers 500000] [--senders 20000] [--recipients 1000000] [--batch 8192]
                              [--inflight 8] [--verify-threads N] [--checkpoint-transactions N] [--dir D]
                              [--keep] [--workload FILE] [--sqlite] [--postgres] [--rival-transfers 200000]
                              [--profile] [--reopen] [--beside N] [--json]

Signed transfers wait in memory as octets. They are submitted in batches, some of them in flight, and count
when their submission says that they are final: ids made, signatures checked, ordered, executed, indexed, the
state's root made, and all of it synced to the disk. Signing comes before the clock starts; --workload keeps
its result for the next run. `loop` says how the thread of the event loop spent the time; what it was queued
for a core is the machine's other load. Exit status 1 unless every transfer was applied.

--sqlite, --postgres: the same transfers unsigned, in batches of 1000: two updates of balances, an insert of
the record, one durable commit. --reopen: kill -9 at the end of the load, then the time until the ledger is
ready, 1000 receipts by id and 200 pages of histories at once, and 1000 more receipts once the indexes have
settled; the page cache is warm. --beside: the first N transfers into ledgers of their own before and after,
and how the rates compare. --profile: the loop's thread.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import _setup

_setup.bootstrap()
sys.path[1:1] = [str(_setup.ROOT / "bench")]

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cherrydag import crypto
from cherrydag.bench.process_figures import cpu_model, file_system
from cherrydag.errors import ConfigError
from cherrydag.genesis import Genesis
from cherrydag.mempool import MempoolLimits
from cherrydag.params import RECORD_BYTES
from cherrydag.runtime.checkpointing import TRANSACTIONS
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import KeyPair
from ledger_load import LoadResult, LoadSettings, ReopenResult, run_load, run_reopen
from rivals import NotThereError, RivalResult, run_postgres, run_sqlite
from signed_load import LoadSpec, make_home, read_workload, signed_transfers, write_workload

MIB = 1 << 20
_Result = TypeVar("_Result")


def main() -> int:
    """Run it; 1 unless all transfers were applied and found again."""
    parser = arguments()
    options = parser.parse_args()
    try:
        spec = LoadSpec(options.transfers, options.senders, options.recipients)
        if (options.beside or 0) > spec.transfers:
            raise ConfigError(f"--beside {options.beside}: there are {spec.transfers} transfers")
        return measure(options, spec)
    except ConfigError as error:
        parser.error(str(error))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transfers", type=int, default=500_000)
    parser.add_argument("--senders", type=int, default=20_000)
    parser.add_argument("--recipients", type=int, default=1_000_000)
    parser.add_argument("--batch", type=positive, default=8192, help="transfers of one submission")
    parser.add_argument("--inflight", type=positive, default=8, help="submissions at a time")
    parser.add_argument("--verify-threads", type=int, default=0, help="0: as the ledger chooses")
    parser.add_argument("--checkpoint-transactions", type=positive, default=TRANSACTIONS)
    parser.add_argument("--dir", type=Path, help="folder for all files, made if it is not there")
    parser.add_argument("--keep", action="store_true", help="leave the files there")
    parser.add_argument("--workload", type=Path, metavar="FILE", help="signed transfers, made if not there")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--rival-transfers", type=positive, default=200_000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--reopen", action="store_true")
    parser.add_argument("--beside", type=positive, metavar="N", help="N transfers before and after")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text")
    return parser


def positive(text: str) -> int:
    """A whole number above 0."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def measure(options: argparse.Namespace, spec: LoadSpec) -> int:
    """All that was asked for; the files go afterwards."""
    base = options.dir or Path(tempfile.mkdtemp(prefix="cherrydag-pipeline-"))
    base.mkdir(parents=True, exist_ok=True)
    ours = [base / name for name in ("ledger", "rival", "signed", "small")]
    for path in ours:
        if path.exists():
            raise ConfigError(f"{path}: it is there already")
    try:
        return run(options, spec, base)
    finally:
        if options.keep:
            print(f"kept in {base}", file=sys.stderr)
        else:
            for path in ours:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            if options.dir is None:
                base.rmdir()


def run(options: argparse.Namespace, spec: LoadSpec, base: Path) -> int:
    """Sign, measure ours and theirs, say what came out."""
    tell = tell_json if options.json else tell_text
    senders, validator = spec.keys()
    genesis = spec.genesis(senders, validator)
    path = options.workload or base / "signed"
    frames = workload(path, spec, senders, genesis)
    make_home(base / "ledger", genesis, validator)
    settings = LoadSettings(
        base / "ledger",
        path,
        spec.transfers,
        spec.transfers,
        options.batch,
        options.inflight,
        LedgerOptions(
            verify_threads=options.verify_threads,
            checkpoint_transactions=options.checkpoint_transactions,
            mempool=MempoolLimits(prefault=True),
        ),
        options.profile,
        options.reopen,
    )
    tell("machine", machine(base))
    rivals = []
    if options.sqlite:
        (base / "rival").mkdir()
        rivals.append(run_sqlite(base / "rival", frames, options.rival_transfers))
    small = [run_small(settings, genesis, validator, options.beside)] if options.beside else []
    loaded: LoadResult = in_child(run_load, settings)
    if options.beside:
        small.append(run_small(settings, genesis, validator, options.beside))
    if options.postgres:
        try:
            rivals.append(run_postgres(frames, options.rival_transfers))
        except NotThereError as error:
            print(f"PostgreSQL: {error}", file=sys.stderr)
    tell("ledger", load_figures(loaded, options, spec))
    if small:
        tell("beside", beside_figures(small, loaded))
    for rival in rivals:
        tell(rival.name, rival_figures(rival, loaded))
    is_good = loaded.statuses == {"APPLIED": spec.transfers}
    if options.reopen:
        reopened: ReopenResult = in_child(run_reopen, settings)
        tell("reopen", reopen_figures(reopened))
        is_good &= not reopened.missing and not reopened.notes
    if loaded.profile:
        print(loaded.profile, file=sys.stderr)
    return int(not is_good)


def run_small(settings: LoadSettings, genesis: Genesis, validator: KeyPair, transfers: int) -> LoadResult:
    """The first transfers into a ledger of their own, which goes afterwards."""
    folder = settings.folder.with_name("small")
    make_home(folder, genesis, validator)
    try:
        result: LoadResult = in_child(
            run_load,
            replace(settings, folder=folder, transfers=transfers, is_profiled=False, is_killed=False),
        )
    finally:
        shutil.rmtree(folder)
    return result


def workload(path: Path, spec: LoadSpec, senders: list[KeyPair], genesis: Genesis) -> bytes:
    """The signed transfers as octets, from the file or made now and kept there."""
    frames = read_workload(path, spec, genesis)
    if frames is not None:
        return frames
    columns = (TextColumn("{task.description:8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("sign", total=spec.transfers)
        records = signed_transfers(
            spec,
            senders,
            genesis,
            os.cpu_count() or 1,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    write_workload(path, spec, genesis, records)
    return records.tobytes()


def in_child(body: Callable[[LoadSettings, Connection], None], settings: LoadSettings) -> Any:
    """What a process of its own reports; it is killed after that if it waits for it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=body, args=(settings, theirs))
    child.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        child.join()
        raise SystemExit(f"the measured process ended with status {child.exitcode}") from None
    if settings.is_killed:
        child.kill()
    child.join()
    return found


# What is told


def machine(base: Path) -> dict[str, object]:
    """Where this ran."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "backend": crypto.backend(),
        "disk": file_system(base),
    }


def load_figures(loaded: LoadResult, options: argparse.Namespace, spec: LoadSpec) -> dict[str, object]:
    """The ledger's run."""
    n = loaded.transfers
    return {
        "transfers": n,
        "rate": round(n / loaded.seconds),
        "seconds": round(loaded.seconds, 2),
        "tenths": [round(rate) for rate in loaded.tenths],
        "final_p50_ms": round(quantile(loaded.latencies_ms, 0.5), 1),
        "final_p99_ms": round(quantile(loaded.latencies_ms, 0.99), 1),
        "cpu_us": {name: round(seconds / n * 1e6, 3) for name, seconds in sorted(loaded.cpu_s.items())},
        "busy_cores": round(loaded.cpu_s["process"] / loaded.seconds, 2),
        "loop": {
            "running": round(loaded.loop_running, 2),
            "queued": round(loaded.loop_queued, 2),
            "asleep": round(max(0.0, 1 - loaded.loop_running - loaded.loop_queued), 2),
        },
        "statuses": loaded.statuses,
        "commits": loaded.commits,
        "checkpoint": loaded.checkpoint_index,
        "open_s": round(loaded.open_s, 2),
        "disk_bytes_each": round(loaded.disk_bytes / n),
        "written_bytes_each": round(loaded.written_bytes / n),
        "rss_mib": [round(size / MIB) for size in (loaded.rss_start, loaded.rss_end, loaded.rss_max)],
        "record_bytes": RECORD_BYTES,
        "signatures": True,
        "durable": True,
        "batch": options.batch,
        "in_flight": options.inflight,
        "verify_threads": loaded.verify_threads,
        "checkpoint_transactions": options.checkpoint_transactions,
        "senders": spec.senders,
        "recipients": spec.recipients,
        "seed": spec.seed,
    }


def rival_figures(rival: RivalResult, loaded: LoadResult) -> dict[str, object]:
    """A database's run, and ours over it."""
    rate = rival.transfers / rival.seconds
    return {
        "version": rival.version,
        "transfers": rival.transfers,
        "rate": round(rate),
        "ours_over_it": round(loaded.transfers / loaded.seconds / rate, 2),
        "batch_p50_ms": round(quantile(rival.latencies_ms, 0.5), 1),
        "batch_p99_ms": round(quantile(rival.latencies_ms, 0.99), 1),
        "cpu_us": round(rival.cpu_s / rival.transfers * 1e6, 3),
        "signatures": False,
        "durable": True,
        "settings": rival.settings,
    }


def beside_figures(small: Sequence[LoadResult], loaded: LoadResult) -> dict[str, object]:
    """The runs of fewer transfers before and after, and what share of their mean rate the large one has."""
    rates = [result.transfers / result.seconds for result in small]
    rate = loaded.transfers / loaded.seconds
    return {
        "transfers": small[0].transfers,
        "rates": [round(one) for one in rates],
        "ours_over_mean": round(rate * len(rates) / sum(rates), 3),
        "loop_queued": [round(result.loop_queued, 2) for result in (*small, loaded)],
    }


def reopen_figures(reopened: ReopenResult) -> dict[str, object]:
    """The start after the kill."""
    return {
        "ready_s": round(reopened.ready_s, 2),
        "of_it_genesis_s": round(reopened.genesis_s, 2),
        "replayed_commits": reopened.replayed,
        "commit_index": reopened.commit_index,
        "notes": list(reopened.notes),
        "missing": reopened.missing,
        "receipt_p50_us": round(quantile(reopened.receipts_us, 0.5), 1),
        "receipt_p99_us": round(quantile(reopened.receipts_us, 0.99), 1),
        "settled_receipt_p50_us": round(quantile(reopened.settled_us, 0.5), 1),
        "settled_receipt_p99_us": round(quantile(reopened.settled_us, 0.99), 1),
        "page_p50_us": round(quantile(reopened.pages_us, 0.5), 1),
        "page_p99_us": round(quantile(reopened.pages_us, 0.99), 1),
        "rss_mib": round(reopened.rss / MIB),
    }


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so much of them does not pass."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def tell_json(name: str, figures: dict[str, object]) -> None:
    """One line for a program."""
    print(json.dumps({"name": f"pipeline.{name.lower()}", **figures}), flush=True)


def tell_text(name: str, figures: dict[str, object]) -> None:
    """A paragraph for people."""
    print(name)
    for key, value in figures.items():
        if isinstance(value, dict):
            value = ", ".join(f"{inner} {shown(number)}" for inner, number in value.items())
        elif isinstance(value, list):
            value = " ".join(map(shown, value))
        print(f"  {key.replace('_', ' '):24} {shown(value)}")
    sys.stdout.flush()


def shown(value: object) -> str:
    """A number with its thousands apart."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
