"""Workloads: the same from the same seed, lawful as a ledger wants them, and whole on disk."""

import hashlib
import json
import os
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nacl.signing import VerifyKey

from cherrydag import crypto, workload
from cherrydag.address import address_of
from cherrydag.errors import Rejected, ShapeError
from cherrydag.transaction import amounts, chain_key, check_records, transaction_ids
from cherrydag.workload import Workload, WorkloadError, WorkloadSpec, generate, read, write

SPEC = WorkloadSpec(seed=42, accounts=5, transfers=40, distribution="zipf", amount_min=3, amount_max=9, fee=2)
SMALL = generate(SPEC)


def ends(made: Workload) -> tuple[list[int], list[int]]:
    """Places of sender and recipient among the accounts."""
    keys = [key.public_key for key in made.spec.key_pairs()]
    senders = {bytes(key): place for place, key in enumerate(keys)}
    recipients = {bytes(address_of(key)): place for place, key in enumerate(keys)}
    return (
        [senders[record["sender"].tobytes()] for record in made.records],
        [recipients[record["recipient"].tobytes()] for record in made.records],
    )


def test_same_seed_same_bytes_and_they_are_pinned() -> None:
    assert generate(SPEC).records.tobytes() == SMALL.records.tobytes()
    assert (
        hashlib.sha256(SMALL.records.tobytes()).hexdigest()
        == "67be0ba6b2a918eb04096c67a43b10acc010e4d6ca037a4319ca64f323b6292b"
    )


@pytest.mark.parametrize(
    "change",
    [{"seed": 43}, {"distribution": "uniform"}, {"exponent": 1.5}, {"fee": 3}, {"genesis_digest": b"g" * 32}],
)
def test_every_part_of_the_spec_matters(change: dict[str, int]) -> None:
    assert generate(replace(SPEC, **change)).records.tobytes() != SMALL.records.tobytes()


def test_every_transfer_passes_the_checks_and_verifies() -> None:
    assert not check_records(SMALL.records, now_s=2**31).any()
    ids = transaction_ids(SMALL.records, chain_key(SPEC.genesis_digest))
    for row, record in enumerate(SMALL.records):
        VerifyKey(record["sender"].tobytes()).verify(
            ids[row * 32 : row * 32 + 32], record["signature"].tobytes()
        )


def test_nonces_of_each_sender_count_up_from_zero() -> None:
    senders, _ = ends(SMALL)
    seen: Counter[int] = Counter()
    for sender, nonce in zip(senders, SMALL.records["nonce"].tolist(), strict=True):
        assert nonce == seen[sender]
        seen[sender] += 1
    assert len(seen) > 1


@pytest.mark.parametrize("accounts", [2, 3, 50])
@pytest.mark.parametrize("distribution", ["uniform", "zipf"])
def test_nobody_sends_to_itself(accounts: int, distribution: str) -> None:
    spec = WorkloadSpec(seed=1, accounts=accounts, transfers=5000, distribution=distribution, exponent=2.0)  # type: ignore[arg-type]
    senders, recipients = workload._draw_ends(spec, np.random.PCG64(1))
    assert (senders != recipients).all()
    assert 0 <= min(senders.min(), recipients.min()) <= max(senders.max(), recipients.max()) < accounts


def test_amounts_reach_both_ends_of_their_range() -> None:
    assert set(amounts(generate(replace(SPEC, transfers=200)).records)) == set(range(3, 10))
    widest = generate(replace(SPEC, amount_min=1, amount_max=2**64 - 1))
    assert max(amounts(widest.records)) > 2**60


def test_zipf_draws_each_rank_in_its_proportion() -> None:
    spec = WorkloadSpec(seed=5, accounts=8, transfers=200_000, distribution="zipf", exponent=1.2)
    drawn = np.bincount(workload._draw_ranks(spec, np.random.PCG64(5)), minlength=8) / spec.transfers
    weights = np.array([1 / rank**1.2 for rank in range(1, 9)])
    assert np.abs(drawn - weights / weights.sum()).max() < 0.005


def test_uniform_draws_all_alike() -> None:
    spec = WorkloadSpec(seed=5, accounts=8, transfers=200_000)
    drawn = np.bincount(workload._draw_ranks(spec, np.random.PCG64(5)), minlength=8) / spec.transfers
    assert np.abs(drawn - 1 / 8).max() < 0.005


def test_popular_accounts_are_not_the_first_ones() -> None:
    spec = WorkloadSpec(seed=5, accounts=1000, transfers=10_000, distribution="zipf", exponent=2.0)
    senders, _ = workload._draw_ends(spec, np.random.PCG64(5))
    assert np.bincount(senders).argmax() != 0


def test_sequence_numbers_match_a_plain_count() -> None:
    groups = np.random.default_rng(2).integers(0, 30, 2000)
    seen: Counter[int] = Counter()
    expected = []
    for group in groups.tolist():
        expected.append(seen[group])
        seen[group] += 1
    assert workload._sequence_numbers(groups).tolist() == expected
    assert workload._sequence_numbers(np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"accounts": 1}, "accounts: expected an integer in 2 .."),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"transfers": 2**31}, "transfers"),
        ({"amount_min": 0}, "amount_min"),
        ({"amount_min": 10}, "amount_min: 10 is above amount_max, 9"),
        ({"amount_max": 2**64}, "amount_max"),
        ({"distribution": "normal"}, "distribution"),
        ({"exponent": float("nan")}, "exponent"),
        ({"exponent": 11.0}, "exponent"),
        ({"genesis_digest": b""}, "genesis_digest"),
    ],
)
def test_specs_out_of_range_are_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(ShapeError) as caught:
        replace(SPEC, **change)
    assert said in str(caught.value)


def test_progress_ends_at_the_total() -> None:
    calls: list[tuple[int, int]] = []
    generate(SPEC, lambda *call: calls.append(call))
    assert calls[-1] == (40, 40)


def test_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.workload"
    write(SMALL, path)
    back = read(path)
    assert back.spec == SPEC
    assert back.records.tobytes() == SMALL.records.tobytes()
    assert not back.records.flags.writeable
    assert list(tmp_path.iterdir()) == [path]


def test_empty_workload_has_a_file_too(tmp_path: Path) -> None:
    write(generate(replace(SPEC, transfers=0)), tmp_path / "none")
    assert read(tmp_path / "none").records.shape == (0,)


def test_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write(SMALL, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(generate(replace(SPEC, transfers=2)), path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(WorkloadError):
            read(path)


def damaged(tmp_path: Path, content: bytes) -> WorkloadError:
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(WorkloadError) as caught:
        read(path)
    assert isinstance(caught.value, Rejected)
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write(SMALL, path)
    whole = path.read_bytes()
    size = len(whole)

    def head(magic: bytes = b"CHERRYWL", version: int = 1, spec_size: int = 10, count: int = 40) -> bytes:
        return struct.pack("<8sIIQ", magic, version, spec_size, count) + whole[24:]

    cases = [
        (whole[:-1], "size", f"the file has {size - 1}"),
        (whole + b"x", "size", f"the file has {size + 1}"),
        (whole[:23], "size", "23 bytes are too few"),
        (b"", "size", "0 bytes are too few"),
        (head(magic=b"SQLite f"), "magic", "starts with b'SQLite f'"),
        (head(version=2), "version", "workload version 2; this reads version 1"),
        (head(spec_size=4097), "size", "a spec of 4097 bytes; at most 4096"),
        (head(spec_size=4096), "size", "expected"),
        (head(count=2**64 - 1), "size", f"for {2**64 - 1} records"),
        (whole[:-1] + bytes([whole[-1] ^ 128]), "checksum", "damaged"),
    ]
    for content, code, said in cases:
        error = damaged(tmp_path, content)
        assert error.code == f"workload_{code}"
        assert said in str(error)


@pytest.mark.parametrize(
    "change",
    [{"accounts": 0}, {"transfers": 39}, {"extra": 1}, {"genesis_digest": "zz"}, {"genesis_digest": None}],
)
def test_foreign_spec_under_a_right_checksum_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    fields = json.loads(workload._encode_head(SPEC, 40)[24:])
    assert seal(tmp_path, json.dumps(fields | change).encode()).code == "workload_spec"


@pytest.mark.parametrize("encoded", [b"", b"[]", b"{}", b"\xff", b"1", b"[" * 4096])
def test_spec_that_is_no_spec_is_refused(tmp_path: Path, encoded: bytes) -> None:
    assert seal(tmp_path, encoded).code == "workload_spec"


def seal(tmp_path: Path, encoded: bytes) -> WorkloadError:
    head = struct.pack("<8sIIQ", b"CHERRYWL", 1, len(encoded), 40) + encoded
    content = SMALL.records.tobytes()
    return damaged(tmp_path, head + crypto.hash_bytes(head + crypto.hash_bytes(content)) + content)
