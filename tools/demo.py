#!/usr/bin/env python3
"""The main job, start to end: sign transfers, then identify, check and verify them on every core.

`python3 tools/demo.py [--transfers N] [--accounts N] [--distribution uniform|zipf] [--seed S] [--keep FILE]`
A few transfers are tampered with after signing, and exactly those must be found. The result stands beside
libsodium and the blake3 package, measured in the same run.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import _setup

if __name__ == "__mp_main__":  # a signing process: its parent hears Ctrl-C and ends it
    signal.signal(signal.SIGINT, signal.SIG_IGN)

_setup.bootstrap()

import numpy as np
from blake3 import blake3
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cherrydag import crypto, workload
from cherrydag.params import RECORD_BYTES, RECORD_HEAD_BYTES
from cherrydag.runtime.workers import Ticket, WorkerPool
from cherrydag.transaction import Records, chain_key, check_records

HASH_BATCH = 8192
VERIFY_BATCH = 1024
SAMPLE = 3000
"""How many signatures libsodium checks for comparison, and hashes the blake3 package makes."""

NOW_S = 1_800_000_000
CORES = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Rate:
    """What one side needed."""

    seconds: float
    items: int

    @property
    def microseconds(self) -> float:
        """Time per item."""
        return self.seconds / self.items * 1e6


def main() -> int:
    """Run the stages; 0 if exactly the bad signatures were found."""
    options = arguments()
    console = Console()
    spec = workload.WorkloadSpec(
        seed=options.seed,
        accounts=options.accounts,
        transfers=options.transfers,
        distribution=options.distribution,
    )
    columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, WorkerPool(threads=CORES) as pool:
        made = generate(progress, spec)
        if options.keep:
            workload.write(made, options.keep)
        records = made.records
        key = chain_key(spec.genesis_digest)
        bad = tamper(records, options.seed)

        ids, hashing = hash_all(progress, pool, records, key)
        check(progress, records)
        verdicts, verifying = verify_all(progress, pool, records, ids)
        found = [row for row, verdict in enumerate(verdicts) if not verdict]
        libsodium = compare_libsodium(progress, records, ids, verdicts)
        blake = compare_blake3(progress, records, ids, key)

    console.print(table(verifying, libsodium, hashing, blake))
    console.print(f"tampered transfers: {bad}\nfound:              {found}", highlight=False)
    if options.keep:
        console.print(f"workload kept, before the tampering, in {options.keep}", highlight=False)
    if found != bad:
        console.print("FAILED: the two differ", style="red")
        return 1
    console.print(f"ok: exactly the bad ones of {len(records):,} were found", style="green", highlight=False)
    return 0


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--transfers", type=positive, default=200_000, metavar="N")
    parser.add_argument("--accounts", type=positive, default=20_000, metavar="N")
    parser.add_argument("--distribution", choices=["uniform", "zipf"], default="uniform")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the signed workload there")
    return parser.parse_args()


def positive(text: str) -> int:
    """A whole number above 1."""
    number = int(text)
    if number < 2:
        raise ValueError(text)
    return number


def generate(progress: Progress, spec: workload.WorkloadSpec) -> workload.Workload:
    """Make the accounts, draw the transfers and sign them, on every core if it is worth the start."""
    task = progress.add_task("generate, sign", total=spec.transfers)
    processes = CORES if spec.transfers > 50_000 else 1
    return workload.generate(
        spec, lambda done, total: progress.update(task, completed=done, total=total), processes
    )


def tamper(records: Records, seed: int) -> list[int]:
    """Spoil a few transfers after signing: a bit of the signature, the amount, another's signature."""
    rows = sorted(random.Random(seed).sample(range(len(records)), min(6, len(records))))
    for number, row in enumerate(rows):
        if number % 3 == 0:
            records["signature"][row, 8 + number] ^= 1
        elif number % 3 == 1:
            records["amount_lo"][row] += 1
        else:
            records["signature"][row] = records["signature"][row - 1]
    return rows


def hash_all(progress: Progress, pool: WorkerPool, records: Records, key: bytes) -> tuple[bytes, Rate]:
    """Transaction ids of all records."""

    def start(rows: slice) -> Ticket:
        return pool.submit_hash_records(records[rows], 0, RECORD_HEAD_BYTES, key)

    return through_pool(progress, "hash", len(records), HASH_BATCH, start)


def check(progress: Progress, records: Records) -> None:
    """Every rule that a record alone must keep; a tampered one still keeps them."""
    task = progress.add_task("check", total=len(records))
    faults = check_records(records, now_s=NOW_S)
    progress.update(task, completed=len(records))
    if faults.any():
        raise AssertionError(f"record {faults.argmax()} has fault {faults.max()}")


def verify_all(progress: Progress, pool: WorkerPool, records: Records, ids: bytes) -> tuple[bytes, Rate]:
    """Verdicts on all signatures, a byte each."""
    public_keys = np.ascontiguousarray(records["sender"])
    signatures = np.ascontiguousarray(records["signature"])
    digests = np.frombuffer(ids, dtype=np.uint8).reshape(-1, 32)

    def start(rows: slice) -> Ticket:
        return pool.submit_verify(public_keys[rows], digests[rows], signatures[rows])

    return through_pool(progress, "verify", len(records), VERIFY_BATCH, start)


def through_pool(
    progress: Progress, name: str, total: int, batch: int, start: Callable[[slice], Ticket]
) -> tuple[bytes, Rate]:
    """Send rows through the workers, a few batches ahead of the results; outputs in the rows' order."""
    task = progress.add_task(name, total=total)
    waiting: deque[Ticket] = deque()
    outputs: list[bytes] = []
    began = time.perf_counter()
    for first in range(0, total, batch):
        if len(waiting) == 4 * CORES:
            outputs.append(waiting.popleft().result())
            progress.update(task, advance=batch)
        waiting.append(start(slice(first, min(first + batch, total))))
    outputs.extend(ticket.result() for ticket in waiting)
    spent = time.perf_counter() - began
    progress.update(task, completed=total)
    return b"".join(outputs), Rate(spent, total)


def sample(records: Records) -> Iterator[int]:
    """Rows spread evenly over the workload."""
    count = min(SAMPLE, len(records))
    return (i * len(records) // count for i in range(count))


def compare_libsodium(progress: Progress, records: Records, ids: bytes, verdicts: bytes) -> Rate:
    """libsodium on a sample, one signature a call on one core; its verdicts must be ours."""
    rows = list(sample(records))
    task = progress.add_task("libsodium", total=len(rows))
    inputs = [
        (
            records["signature"][row].tobytes() + ids[32 * row : 32 * row + 32],
            records["sender"][row].tobytes(),
        )
        for row in rows
    ]
    theirs = []
    began = time.perf_counter()
    for signed, public_key in inputs:
        try:
            crypto_sign_open(signed, public_key)
        except BadSignatureError:
            theirs.append(0)
        else:
            theirs.append(1)
    spent = time.perf_counter() - began
    progress.update(task, completed=len(rows))
    if theirs != [verdicts[row] for row in rows]:
        raise AssertionError("libsodium disagrees")
    return Rate(spent, len(rows))


def compare_blake3(progress: Progress, records: Records, ids: bytes, key: bytes) -> Rate:
    """Run the blake3 package on a sample, one record a call on one core; its hashes must be ours."""
    rows = list(sample(records))
    task = progress.add_task("blake3", total=len(rows))
    data = records.tobytes()
    heads = [data[row * RECORD_BYTES : row * RECORD_BYTES + RECORD_HEAD_BYTES] for row in rows]
    began = time.perf_counter()
    theirs = [blake3(head, key=key).digest() for head in heads]
    spent = time.perf_counter() - began
    progress.update(task, completed=len(rows))
    if theirs != [ids[32 * row : 32 * row + 32] for row in rows]:
        raise AssertionError("the blake3 package disagrees")
    return Rate(spent, len(rows))


def table(verifying: Rate, libsodium: Rate, hashing: Rate, blake: Rate) -> Table:
    """The figures side by side; wall-clock time throughout."""
    shown = Table(title=f"backend {crypto.backend()}")
    for heading in ("", "us an item", "items/s", "ratio"):
        shown.add_column(heading, justify="right" if heading else "left")
    ours = f"cherrydag, {CORES} cores"
    for label, rate, base in (
        (f"verify: {ours}", verifying, libsodium),
        ("verify: libsodium (PyNaCl), 1 core", libsodium, libsodium),
        (f"hash: {ours}", hashing, blake),
        ("hash: blake3 package, 1 core", blake, blake),
    ):
        figures = (f"{rate.microseconds:.3g}", f"{rate.items / rate.seconds:,.0f}")
        shown.add_row(label, *figures, f"{base.microseconds / rate.microseconds:.1f}x")
    return shown


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
