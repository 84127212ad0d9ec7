"""What tools/pipeline.py is made of: the load that it signs, what it measures, what it compares with."""

# ruff: noqa: E402 - the benches are imported as the tool does it

import sys
from collections import Counter
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[1:1] = [str(ROOT / "bench")]

from cherrydag.errors import ConfigError
from cherrydag.genesis import Genesis
from cherrydag.params import RECORD_BYTES
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.storage.values import StoreOptions
from cherrydag.transaction import as_records
from ledger_load import LoadResult, LoadSettings, _Final, rates_by_tenth, run_load, run_reopen
from rivals import rows_of, run_sqlite
from signed_load import LoadSpec, make_home, read_workload, signed_transfers, write_workload

SPEC = LoadSpec(transfers=600, senders=20, recipients=50)
OPTIONS = LedgerOptions(store=StoreOptions(preflight=False))


def made(spec: LoadSpec, path: Path) -> Genesis:
    """The signed transfers of a spec in a file, and their chain."""
    senders, validator = spec.keys()
    genesis = spec.genesis(senders, validator)
    write_workload(path, spec, genesis, signed_transfers(spec, senders, genesis, 1, lambda done, total: None))
    return genesis


def settings_in(folder: Path, workload: Path) -> LoadSettings:
    senders, validator = SPEC.keys()
    make_home(folder, SPEC.genesis(senders, validator), validator)
    return LoadSettings(folder, workload, SPEC.transfers, SPEC.transfers, 100, 3, OPTIONS)


def reported(body, settings: LoadSettings):
    ours, theirs = Pipe(duplex=False)
    body(settings, theirs)
    return ours.recv()


def test_equal_specs_have_one_chain_and_one_workload(tmp_path: Path) -> None:
    first, second = made(SPEC, tmp_path / "a"), made(SPEC, tmp_path / "b")
    assert first.digest == second.digest
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nonces_of_each_sender_count_up_from_zero(tmp_path: Path) -> None:
    genesis = made(SPEC, tmp_path / "workload")
    frames = read_workload(tmp_path / "workload", SPEC, genesis)
    assert frames is not None
    seen: Counter[bytes] = Counter()
    for record in as_records(frames):
        sender = record["sender"].tobytes()
        assert record["nonce"] == seen[sender]
        seen[sender] += 1
    assert len(seen) == SPEC.senders


def test_a_workload_of_another_spec_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "workload"
    genesis = made(SPEC, path)
    assert read_workload(tmp_path / "none", SPEC, genesis) is None
    other = LoadSpec(SPEC.transfers, SPEC.senders, SPEC.recipients, seed=2)
    with pytest.raises(ConfigError, match="not the workload"):
        read_workload(path, other, genesis)
    with pytest.raises(ConfigError, match="not the workload"):
        read_workload(path, SPEC, other.genesis(*other.keys()))
    whole = path.read_bytes()
    for data in (whole[:-1], whole[:-RECORD_BYTES], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match="damaged"):
            read_workload(path, SPEC, genesis)


@pytest.mark.parametrize("senders", [0, 65_537])
def test_senders_beyond_what_a_genesis_holds_are_refused(senders: int) -> None:
    assert LoadSpec(1, 1, 1) and LoadSpec(1, 65_536, 1)
    with pytest.raises(ConfigError, match="senders: expected 1 to 65536"):
        LoadSpec(1, senders, 1)


def test_every_transfer_is_final_and_found_again(tmp_path: Path) -> None:
    made(SPEC, tmp_path / "workload")
    settings = settings_in(tmp_path / "ledger", tmp_path / "workload")
    loaded: LoadResult = reported(run_load, settings)
    assert loaded.statuses == {"APPLIED": SPEC.transfers}
    assert len(loaded.latencies_ms) == 6 and min(loaded.latencies_ms) > 0
    groups = sum(seconds for name, seconds in loaded.cpu_s.items() if name != "process")
    assert groups == pytest.approx(loaded.cpu_s["process"])
    assert loaded.cpu_s["cherry-w"] > 0
    assert 0 < loaded.loop_running <= 1.01
    assert loaded.commits > 0 and loaded.disk_bytes > SPEC.transfers * RECORD_BYTES
    reopened = reported(run_reopen, settings)
    assert (reopened.missing, reopened.notes) == (0, ())
    assert reopened.replayed == loaded.commits
    assert reopened.genesis_s > 0
    assert len(reopened.receipts_us) == len(reopened.settled_us) and min(reopened.settled_us) > 0


def test_the_first_transfers_of_a_workload_go_into_a_ledger_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "workload"
    made(SPEC, path)
    loaded = reported(run_load, replace(settings_in(tmp_path / "ledger", path), transfers=100))
    assert loaded.statuses == {"APPLIED": 100}


def test_a_transfer_that_is_not_applied_is_counted_apart(tmp_path: Path) -> None:
    path = tmp_path / "workload"
    made(SPEC, path)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")  # the last signature
    loaded = reported(run_load, settings_in(tmp_path / "ledger", path))
    assert loaded.statuses == {"APPLIED": SPEC.transfers - 1, "NONE": 1}


def test_rates_are_of_equal_parts_of_the_transfers() -> None:
    steady = [_Final(0.0, (number + 1) / 10, 100) for number in range(20)]
    assert rates_by_tenth(steady) == pytest.approx((1000.0,) * 10)
    slower = [_Final(0.0, ended, 100) for ended in np.cumsum([0.1] * 5 + [0.2] * 5).tolist()]
    assert rates_by_tenth(slower) == pytest.approx((1000.0,) * 5 + (500.0,) * 5)
    many = [_Final(0.0, (number + 1) / 10, 100) for number in range(62)]
    assert rates_by_tenth(many) == pytest.approx((1000.0,) * 10)
    assert rates_by_tenth([_Final(1.0, 1.5, 10)]) == pytest.approx((20.0,))


def test_a_rival_makes_the_same_transfers(tmp_path: Path) -> None:
    genesis = made(SPEC, tmp_path / "workload")
    frames = read_workload(tmp_path / "workload", SPEC, genesis)
    assert frames is not None
    rows, accounts = rows_of(frames, 500)
    records = as_records(frames)[:500]
    assert [row[2] for row in rows] == records["amount_lo"].tolist()
    assert b"".join(row[3] for row in rows) == records.tobytes()
    debited = {row[0]: record["sender"].tobytes() for row, record in zip(rows, records, strict=True)}
    assert len(debited) == len(set(debited.values()))
    assert accounts == len({row[0] for row in rows} | {row[1] for row in rows})
    assert run_sqlite(tmp_path, frames, 500).transfers == 500
