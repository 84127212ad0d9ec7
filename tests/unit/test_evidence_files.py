"""Evidence against operators as files: written once for a key, bounded, and believed only as far as it is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from vertices import CHAIN, OPERATORS, operator_vertex, sign

from cherrydag.consensus.effects import Report
from cherrydag.errors import ConfigError
from cherrydag.ledger import Ledger
from cherrydag.primitives import Digest
from cherrydag.runtime import evidence
from cherrydag.runtime.evidence import equivocations_in, read_equivocation, write_equivocation
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import KeyPair, generate_keypair
from cherrydag.storage.values import StoreOptions
from cherrydag.vertex import genesis_vertices

DIGEST = Digest(CHAIN.genesis_digest)


def report(key: KeyPair, seq: int = 0) -> Report:
    first = operator_vertex(issuer=key.public_key, seq=seq, signed=False)
    return Report(*[sign(one, key, CHAIN) for one in (first, replace(first, timestamp_ms=1))])


def test_what_is_written_is_read_and_is_evidence(tmp_path: Path) -> None:
    found = report(OPERATORS[0], 7)
    path = write_equivocation(tmp_path, DIGEST, found)
    assert path is not None and equivocations_in(tmp_path) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    filed = read_equivocation(path)
    assert filed.genesis_digest == DIGEST
    assert filed.evidence.issuer == OPERATORS[0].public_key and filed.evidence.seq == 7
    assert filed.evidence.headers == (found.first.header, found.second.header)
    assert filed.evidence.is_signed(CHAIN)


def test_one_of_a_key_is_enough_and_the_first_stays(tmp_path: Path) -> None:
    assert write_equivocation(tmp_path, DIGEST, report(OPERATORS[0], 1)) is not None
    assert write_equivocation(tmp_path, DIGEST, report(OPERATORS[0], 2)) is None
    assert write_equivocation(tmp_path, DIGEST, report(OPERATORS[1], 2)) is not None
    assert sorted(read_equivocation(path).evidence.seq for path in equivocations_in(tmp_path)) == [1, 2]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_there_are_so_many_files_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(evidence, "FILES_MAX", 2)
    for number in range(count):
        write_equivocation(tmp_path, DIGEST, report(generate_keypair(bytes([30 + number]) * 32)))
    assert len(equivocations_in(tmp_path)) == min(count, 2)


def test_what_costs_no_bond_is_not_kept(tmp_path: Path) -> None:
    from vertices import COMMITTEE

    validators = genesis_vertices(COMMITTEE, CHAIN.genesis_digest)
    assert write_equivocation(tmp_path, DIGEST, Report(validators[0], validators[1])) is None
    same = report(OPERATORS[0]).first
    assert write_equivocation(tmp_path, DIGEST, Report(same, same)) is None
    assert equivocations_in(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"headers": 3}',
        "x" * 20_000,
        '{"headers": ["00", "zz"]}',
        '{"headers": ["00", "00"]}',
    ],
)
def test_what_is_no_evidence_is_a_fault_of_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "e.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="it is no evidence"):
        read_equivocation(path)


def test_a_digest_that_is_missing_is_a_fault_of_the_file(tmp_path: Path) -> None:
    path = write_equivocation(tmp_path, DIGEST, report(OPERATORS[0]))
    assert path is not None
    document = json.loads(path.read_text())
    del document["genesis_digest"]
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="genesis_digest"):
        read_equivocation(path)


def test_a_host_keeps_what_its_core_reports_and_says_so(tmp_path: Path) -> None:
    options = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)
    told: list[tuple[str, dict[str, object]]] = []
    with Ledger.open(tmp_path / "shop", modules=("bonds",), options=options) as ledger:
        running = ledger._ledger._running

        def seen() -> None:
            host = running.host
            host.tell = lambda event, **facts: told.append((event, facts))
            for found in (report(OPERATORS[0]), report(OPERATORS[0], 3)):
                host.step(lambda found=found: [found])
            running.background.drain()

        ledger._thread.call(seen)
        (path,) = equivocations_in(tmp_path / "shop")
        assert read_equivocation(path).genesis_digest == ledger.genesis_digest
        ledger.transfer(ledger.treasury, OPERATORS[0], 1).wait(30)  # it goes on
    assert [event for event, _ in told if event.startswith("e")] == ["equivocation"] * 2 + ["evidence_kept"]
    assert told[-1][1] == {"file": path.name} or ("evidence_kept", {"file": path.name}) in told


def test_a_disk_that_takes_nothing_is_told_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(evidence, "write_equivocation", full)
    options = LedgerOptions(store=StoreOptions(map_bytes=1 << 30, preflight=False), verify_threads=1)
    told: list[str] = []
    with Ledger.open(tmp_path / "shop", modules=("bonds",), options=options) as ledger:
        running = ledger._ledger._running

        def seen() -> None:
            host = running.host
            host.tell = lambda event, **_: told.append(event)
            host.step(lambda: [report(OPERATORS[0])])
            running.background.drain()

        ledger._thread.call(seen)
        ledger.transfer(ledger.treasury, OPERATORS[0], 1).wait(30)
    assert "evidence_not_kept" in told
