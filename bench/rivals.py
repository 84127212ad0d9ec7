"""The same transfers through databases: two updates of balances and an insert of the record, in batches.

Everything leans their way: no signature is checked, no id is made, nothing is indexed but the key; accounts
are numbered and there before the clock starts.
"""

import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from cherrydag.address import addresses_of
from cherrydag.params import ADDRESS_BYTES, RECORD_BYTES
from cherrydag.transaction import as_records

FUNDS: Final = 10**12
BATCH: Final = 1000

Row = tuple[int, int, int, bytes]
"""Debited account, credited account, amount, record."""


class RivalResult(NamedTuple):
    """What a database did. cpu_s: of the client and the process that serves it. latencies_ms: of each batch,
    to its commit."""

    name: str
    version: str
    settings: str
    transfers: int
    seconds: float
    cpu_s: float
    latencies_ms: tuple[float, ...]


class NotThereError(Exception):
    """The database cannot be run here; why."""


def rows_of(frames: bytes, most: int) -> tuple[list[Row], int]:
    """The first transfers as rows, and how many accounts they touch."""
    records = as_records(frames[: most * RECORD_BYTES])
    senders = addresses_of(np.ascontiguousarray(records["sender"]))
    both = np.concatenate([senders, np.ascontiguousarray(records["recipient"])])
    names, numbers = np.unique(both.view(f"V{ADDRESS_BYTES}").ravel(), return_inverse=True)
    debited, credited = np.split(numbers, 2)
    octets = [frames[at : at + RECORD_BYTES] for at in range(0, len(records) * RECORD_BYTES, RECORD_BYTES)]
    columns = (debited.tolist(), credited.tolist(), records["amount_lo"].tolist(), octets)
    return list(zip(*columns, strict=True)), len(names)


def run_sqlite(folder: Path, frames: bytes, most: int) -> RivalResult:
    """SQLite with a write-ahead log that is synced at each commit."""
    rows, accounts = rows_of(frames, most)
    base = sqlite3.connect(folder / "rival.sqlite", isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("PRAGMA cache_size=-400000")
    base.execute(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0))"
    )
    base.execute("CREATE TABLE transfers (id INTEGER PRIMARY KEY, record BLOB NOT NULL)")
    base.execute("BEGIN")
    base.executemany("INSERT INTO accounts VALUES (?, ?)", ((number, FUNDS) for number in range(accounts)))
    base.execute("COMMIT")
    latencies: list[float] = []
    started, cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, len(rows), BATCH):
        began = time.perf_counter()
        part = rows[start : start + BATCH]
        base.execute("BEGIN IMMEDIATE")
        base.executemany(
            "UPDATE accounts SET balance = balance - ? WHERE id = ?", [(row[2], row[0]) for row in part]
        )
        base.executemany(
            "UPDATE accounts SET balance = balance + ? WHERE id = ?", [(row[2], row[1]) for row in part]
        )
        base.executemany("INSERT INTO transfers (record) VALUES (?)", [(row[3],) for row in part])
        base.execute("COMMIT")
        latencies.append((time.perf_counter() - began) * 1e3)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
    (total,) = base.execute("SELECT sum(balance) FROM accounts").fetchone()
    (count,) = base.execute("SELECT count(*) FROM transfers").fetchone()
    base.close()
    _check(total, count, accounts, len(rows))
    settings = f"WAL, synchronous=FULL, batches of {BATCH}, executemany"
    return RivalResult(
        "SQLite", sqlite3.sqlite_version, settings, len(rows), seconds, cpu_s, tuple(latencies)
    )


def run_postgres(frames: bytes, most: int) -> RivalResult:
    """PostgreSQL, a private server with one client on a Unix socket; a batch is one statement over arrays."""
    if find_spec("psycopg") is None:
        raise NotThereError("its client psycopg is not installed: pip install 'psycopg[binary]'")
    psycopg = import_module("psycopg")
    rows, accounts = rows_of(frames, most)
    with _server() as folder, psycopg.connect(f"host={folder} dbname=postgres user=rival") as base:
        base.execute(
            "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))"
        )
        base.execute("ALTER TABLE accounts SET (fillfactor = 50)")
        base.execute("CREATE TABLE transfers (id bigserial PRIMARY KEY, record bytea NOT NULL)")
        base.execute("INSERT INTO accounts SELECT n, %s FROM generate_series(0, %s) n", (FUNDS, accounts - 1))
        base.commit()
        base.autocommit = True
        base.execute("VACUUM ANALYZE")
        base.execute("CHECKPOINT")
        backend = Path(f"/proc/{base.info.backend_pid}/schedstat")
        latencies: list[float] = []
        started, cpu_s = time.perf_counter(), time.process_time() + _run_s(backend)
        for start in range(0, len(rows), BATCH):
            began = time.perf_counter()
            base.execute(
                _STATEMENT, [list(column) for column in zip(*rows[start : start + BATCH], strict=True)]
            )
            latencies.append((time.perf_counter() - began) * 1e3)
        seconds = time.perf_counter() - started
        cpu_s = time.process_time() + _run_s(backend) - cpu_s
        total, count = base.execute(
            "SELECT (SELECT sum(balance) FROM accounts), (SELECT count(*) FROM transfers)"
        ).fetchone() or (0, 0)
        version = str(base.info.server_version // 10_000)
    _check(int(total), count, accounts, len(rows))
    settings = f"fsync=on, synchronous_commit=on, batches of {BATCH} as arrays"
    return RivalResult("PostgreSQL", version, settings, len(rows), seconds, cpu_s, tuple(latencies))


_STATEMENT: Final = """
WITH given AS (
    SELECT * FROM unnest(%s::int[], %s::int[], %s::bigint[], %s::bytea[]) AS g (debit, credit, amount, record)
), kept AS (
    INSERT INTO transfers (record) SELECT record FROM given
), net AS (
    SELECT id, sum(change)::bigint AS change
    FROM (SELECT debit AS id, -amount AS change FROM given UNION ALL SELECT credit, amount FROM given) AS ends
    GROUP BY id
)
UPDATE accounts SET balance = balance + net.change FROM net WHERE accounts.id = net.id
"""


@contextmanager
def _server() -> Iterator[str]:
    """A private server on a Unix socket in a folder of its own, as a user without rights if we are root."""
    initdb = shutil.which("initdb") or max(
        map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=""
    )
    if not initdb:
        raise NotThereError("its server is not installed")
    user = _user()
    with tempfile.TemporaryDirectory(prefix="rival-", dir="/var/tmp") as folder:
        if user:
            shutil.chown(folder, user)
        data, programs = f"{folder}/data", Path(initdb).resolve().parent

        def run(program: str, *arguments: str) -> None:
            command = [str(programs / program), "-D", data, *arguments]
            subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

        run("initdb", "-U", "rival", "-A", "trust", "--no-instructions")
        options = f"-k {folder} -c listen_addresses= -c shared_buffers=512MB -c max_wal_size=8GB"
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield folder
        finally:
            run("pg_ctl", "-w", "-m", "fast", "stop")


def _run_s(schedstat: Path) -> float:
    """CPU seconds of a process of one thread."""
    return int(schedstat.read_text().split()[0]) / 1e9


def _user() -> str | None:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _check(total: int, count: int, accounts: int, transfers: int) -> None:
    if total != accounts * FUNDS or count != transfers:
        raise AssertionError(f"the database has {count} transfers and {total} in all accounts")
