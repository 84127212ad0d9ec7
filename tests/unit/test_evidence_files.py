"""Evidence as files: written once for a key, bounded, and believed only as far as it is."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from later import Later
from small_disk import fill, small_disk
from vertices import (
    CHAIN,
    COMMITTEE,
    EPOCH,
    KEYS,
    OPERATORS,
    OTHER_CHAIN,
    committee_of,
    operator_vertex,
    sign,
    validator_vertex,
)

from cherrydag.consensus.effects import Report
from cherrydag.errors import ConfigError, NoRoom
from cherrydag.execution.bonds import Bond
from cherrydag.layout import CHECKPOINT_VOTE, COMMIT_VOTE, OPERATOR_REF, VALIDATOR_HEAD, VERTEX_REF
from cherrydag.ledger import Ledger
from cherrydag.params import COMMIT_VOTES_MAX, COMMITTEE_MAX, TIPS_MAX
from cherrydag.primitives import Digest
from cherrydag.runtime import evidence
from cherrydag.runtime.evidence import (
    FILES_MAX,
    EvidenceKeeper,
    ValidatorEvidence,
    equivocations_in,
    read_equivocation,
    validator_equivocations_in,
    write_equivocation,
)
from cherrydag.runtime.opening import LedgerOptions
from cherrydag.signing import KeyPair, generate_keypair
from cherrydag.storage.values import StoreOptions

DIGEST = Digest(CHAIN.genesis_digest)


def report(key: KeyPair, seq: int = 0) -> Report:
    first = operator_vertex(issuer=key.public_key, seq=seq, signed=False)
    return Report(*[sign(one, key, CHAIN) for one in (first, replace(first, timestamp_ms=1))])


def test_what_is_written_is_read_and_is_evidence(tmp_path: Path) -> None:
    found = report(OPERATORS[0], 7)
    path = write_equivocation(tmp_path, DIGEST, COMMITTEE, found)
    assert path is not None and equivocations_in(tmp_path) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    filed = read_equivocation(path)
    assert filed.genesis_digest == DIGEST
    assert filed.evidence.issuer == OPERATORS[0].public_key and filed.evidence.seq == 7
    assert filed.evidence.headers == (found.first.header, found.second.header)
    assert filed.evidence.is_signed(CHAIN)


def test_one_of_a_key_is_enough_and_the_first_stays(tmp_path: Path) -> None:
    assert write_equivocation(tmp_path, DIGEST, COMMITTEE, report(OPERATORS[0], 1)) is not None
    assert write_equivocation(tmp_path, DIGEST, COMMITTEE, report(OPERATORS[0], 2)) is None
    assert write_equivocation(tmp_path, DIGEST, COMMITTEE, report(OPERATORS[1], 2)) is not None
    assert sorted(read_equivocation(path).evidence.seq for path in equivocations_in(tmp_path)) == [1, 2]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_there_are_so_many_files_at_most(tmp_path: Path, count: int) -> None:
    for number in range(count):
        found = report(generate_keypair(bytes([30 + number]) * 32))
        write_equivocation(tmp_path, DIGEST, COMMITTEE, found, room=2)
    assert len(equivocations_in(tmp_path)) == min(count, 2)


def test_keys_that_cost_nothing_leave_half_of_the_room(tmp_path: Path) -> None:
    bonded = OPERATORS[0].public_key
    bonds = SimpleNamespace(get=lambda _, key: Bond(bytes(20), 1, 0, 0) if key == bonded else None)
    executor = SimpleNamespace(find=lambda _: (bonds, None))
    keep, slow = keeper(tmp_path, executor)
    for number in range(FILES_MAX // 2 + 1):
        keep(report(generate_keypair(number.to_bytes(32, "little"))))
        slow.run()
    assert len(equivocations_in(tmp_path)) == FILES_MAX // 2
    keep(report(OPERATORS[0]))
    slow.run()
    assert len(equivocations_in(tmp_path)) == FILES_MAX // 2 + 1


def test_what_proves_nothing_is_not_kept(tmp_path: Path) -> None:
    twice = double(1)
    elsewhere = [replace(vertex, epoch=EPOCH + 1) for vertex in (twice.first, twice.second)]
    nobody = [replace(vertex, author=4) for vertex in (twice.first, twice.second)]
    other = replace(twice.second, round=twice.first.round + 1)
    same = report(OPERATORS[0]).first
    for first, second in (
        elsewhere,
        nobody,
        (twice.first, twice.first),
        (twice.first, replace(twice.first, signature=bytes(64))),
        (twice.first, other),
        (same, same),
    ):
        assert write_equivocation(tmp_path, DIGEST, COMMITTEE, Report(first, second)) is None
    assert list(tmp_path.glob("*.json")) == []


# Of validators


def double(author: int, round_: int = 5) -> Report:
    first = validator_vertex(author=author, round=round_)
    return Report(first, sign(replace(first, timestamp_ms=first.timestamp_ms + 1), KEYS[author]))


def test_what_a_validator_has_signed_twice_is_kept_beside_and_proves_it(tmp_path: Path) -> None:
    found = double(2, 9)
    path = write_equivocation(tmp_path, DIGEST, COMMITTEE, found)
    assert path is not None and path.name == f"validator-equivocation-{KEYS[2].public_key.hex()}.json"
    assert validator_equivocations_in(tmp_path) == [path] and equivocations_in(tmp_path) == []
    assert write_equivocation(tmp_path, DIGEST, COMMITTEE, double(2, 10)) is None  # one is enough
    filed = read_equivocation(path).evidence
    assert isinstance(filed, ValidatorEvidence)
    assert (filed.epoch, filed.round, filed.author) == (EPOCH, 9, 2)
    assert filed.headers == (found.first.header, found.second.header)
    assert filed.key(COMMITTEE) == KEYS[2].public_key and filed.is_signed(CHAIN, COMMITTEE)
    assert not filed.is_signed(OTHER_CHAIN, COMMITTEE)
    assert not filed._replace(author=1).is_signed(CHAIN, COMMITTEE)
    assert not filed._replace(author=4).is_signed(CHAIN, COMMITTEE)
    assert not filed.is_signed(CHAIN, committee_of([1, 1, 1, 1], EPOCH + 1))


def test_validators_have_room_though_operators_have_filled_theirs(
    tmp_path: Path,
) -> None:
    room = 1
    for number in range(2):
        found = report(OPERATORS[number])
        write_equivocation(tmp_path, DIGEST, COMMITTEE, found, room)
    kept = [write_equivocation(tmp_path, DIGEST, COMMITTEE, double(author), room) for author in range(4)]
    assert None not in kept and len(validator_equivocations_in(tmp_path)) == 4
    assert len(equivocations_in(tmp_path)) == 1


def test_the_largest_headers_of_validators_can_be_read(tmp_path: Path) -> None:
    size = VALIDATOR_HEAD.size + COMMITTEE_MAX * VERTEX_REF.size + TIPS_MAX * OPERATOR_REF.size
    size += COMMIT_VOTES_MAX * COMMIT_VOTE.size + CHECKPOINT_VOTE.size
    head = double(0).first.header[: VALIDATOR_HEAD.size]
    headers = [head + bytes([number]) * (size - len(head)) + bytes(64) for number in range(2)]
    path = tmp_path / "e.json"
    document = {"genesis_digest": DIGEST.hex(), "headers": [header.hex() for header in headers]}
    path.write_text(json.dumps(document, indent=2))
    assert read_equivocation(path).evidence.headers == tuple(headers)


# What is no evidence


def test_a_file_has_so_many_bytes_at_most(tmp_path: Path) -> None:
    path = write_equivocation(tmp_path, DIGEST, COMMITTEE, double(0))
    assert path is not None
    path.write_bytes(path.read_bytes().ljust(evidence._BYTES_MAX))
    assert read_equivocation(path).genesis_digest == DIGEST
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ConfigError, match="more than"):
        read_equivocation(path)


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
    path = write_equivocation(tmp_path, DIGEST, COMMITTEE, report(OPERATORS[0]))
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


def keeper(folder: Path, executor: Any) -> tuple[EvidenceKeeper, Later]:
    genesis = SimpleNamespace(digest=DIGEST, committee=lambda: COMMITTEE)
    home: Any = SimpleNamespace(folder=folder, genesis=genesis)
    host: Any = SimpleNamespace(tell=lambda *_, **__: None, books=SimpleNamespace(executor=executor))
    slow: Any = Later()
    return EvidenceKeeper(home, host, slow, {}), slow


def test_at_most_one_of_a_key_waits_to_be_written(tmp_path: Path) -> None:
    keep, slow = keeper(tmp_path, SimpleNamespace(find=lambda _: None))
    same = replace(report(OPERATORS[0]).first, signature=bytes(64))
    for found in (Report(same, same), report(OPERATORS[0], 1), report(OPERATORS[1], 2), double(0), double(0)):
        keep(found)
    assert len(slow.tasks) == 3
    while slow.tasks:
        slow.run()
    keep(report(OPERATORS[0], 3))  # what was no evidence does not stand in the way of what is
    slow.run()
    seqs = [read_equivocation(path).evidence.seq for path in equivocations_in(tmp_path)]
    assert sorted(seqs) == [2, 3] and len(validator_equivocations_in(tmp_path)) == 1


def test_evidence_waits_for_room_on_a_full_disk(tmp_path: Path) -> None:
    keep, slow = keeper(tmp_path / "disk", SimpleNamespace(find=lambda _: None))
    with small_disk(tmp_path / "disk", 1) as disk:
        ballast = fill(disk)
        keep(report(OPERATORS[0]))
        for _ in range(2):
            with pytest.raises(NoRoom, match="No space left"):
                slow.run()
        ballast.unlink()
        slow.run()
        assert len(equivocations_in(disk)) == 1


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
