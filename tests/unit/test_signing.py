"""Keys and signatures: checked by libsodium's verifier, which honest signatures pass."""

import nacl.exceptions
import numpy as np
import pytest
from nacl.signing import VerifyKey

from cherrydag import signing
from cherrydag.errors import ShapeError
from cherrydag.signing import KeyPair, generate_keypair, sign_digest, sign_records
from cherrydag.transaction import (
    RECORD,
    Records,
    build_transfers,
    chain_key,
    transaction_ids,
    verify_records,
)

KEY = chain_key(bytes(32))
KEYS = [generate_keypair(bytes([account]) * 32) for account in range(3)]


def unsigned(n: int) -> Records:
    return build_transfers(senders=bytes(32), recipients=bytes(20), amounts=1, nonces=np.arange(n))


def test_seed_gives_the_key_of_rfc_8032() -> None:
    """RFC 8032, section 7.1, TEST 1."""
    pair = generate_keypair(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert pair.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert VerifyKey(pair.public_key).verify(b"m" * 32, sign_digest(b"m" * 32, pair)) == b"m" * 32


def test_secret_is_never_shown() -> None:
    for shown in (repr(KEYS[1]), str(KEYS[1]), f"{KEYS[1]}", repr([KEYS[1]])):
        assert "secret" not in shown
        assert repr(b"\x01" * 4)[2:-1] not in shown
        assert repr(KEYS[1].public_key) in shown


def test_seed_fixes_the_key_and_no_seed_draws_a_new_one() -> None:
    assert generate_keypair(b"\x01" * 32).secret_key == KEYS[1].secret_key
    assert generate_keypair() != generate_keypair()
    for size in (0, 31, 33):
        with pytest.raises(ShapeError, match=f"got {size}"):
            generate_keypair(bytes(size))


def test_every_record_is_signed_by_the_key_of_its_index() -> None:
    records, index = unsigned(7), np.array([0, 1, 2, 2, 1, 0, 1])
    sign_records(records, KEY, KEYS, index)
    ids = transaction_ids(records, KEY)
    for row, record in enumerate(records):
        assert record["sender"].tobytes() == KEYS[index[row]].public_key
        VerifyKey(record["sender"].tobytes()).verify(
            ids[row * 32 : row * 32 + 32], record["signature"].tobytes()
        )
        with pytest.raises(nacl.exceptions.BadSignatureError):
            VerifyKey(record["sender"].tobytes()).verify(b"\0" * 32, record["signature"].tobytes())


def test_signatures_are_those_of_the_single_signer() -> None:
    records = unsigned(2)
    sign_records(records, KEY, KEYS, np.array([1, 2]))
    ids = transaction_ids(records, KEY)
    assert records["signature"][1].tobytes() == sign_digest(ids[32:], KEYS[2])


def test_bodies_are_signed_too() -> None:
    records = unsigned(1)
    records["body_size"] = 3
    offsets = np.array([0, 3], np.uint64)
    sign_records(records, KEY, KEYS, np.array([0]), bodies=b"abc", body_offsets=offsets)
    digest = transaction_ids(records, KEY, b"abc", offsets)
    assert records["signature"][0].tobytes() == sign_digest(digest, KEYS[0])


def test_processes_sign_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "_CHUNK", 4)
    index = np.arange(10) % 3
    alone, shared = unsigned(10), unsigned(10)
    sign_records(alone, KEY, KEYS, index)
    sign_records(shared, KEY, KEYS, index, processes=2)
    assert alone.tobytes() == shared.tobytes()


@pytest.mark.parametrize("n", [0, 3, 4, 5, 8, 9])
def test_progress_counts_up_to_the_total(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(signing, "_CHUNK", 4)
    calls: list[tuple[int, int]] = []
    sign_records(unsigned(n), KEY, KEYS, np.zeros(n, np.int64), progress=lambda *call: calls.append(call))
    assert calls == [(min(at + 4, n), n) for at in range(0, n, 4)]


@pytest.mark.parametrize("processes", [1, 2])
def test_progress_that_raises_stops_the_signing(monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    monkeypatch.setattr(signing, "_CHUNK", 4)
    records = unsigned(40)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sign_records(records, KEY, KEYS, np.zeros(40, np.int64), progress=interrupt, processes=processes)
    assert records["signature"][:4].any(axis=1).all()
    assert not records["signature"][4:].any()


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ([0], "expected 2 integers"),
        ([[0], [1]], "shape (2, 1)"),
        ([0, 3], "row 1 is 3"),
        ([-1, 0], "row 0 is -1"),
    ],
)
def test_index_beyond_the_keys_leaves_records_untouched(index: list[int], said: str) -> None:
    records = unsigned(2)
    before = records.tobytes()
    with pytest.raises(ShapeError) as caught:
        sign_records(records, KEY, KEYS, np.array(index))
    assert said in str(caught.value)
    assert records.tobytes() == before


def test_digest_of_another_length_is_not_signed() -> None:
    with pytest.raises(ShapeError, match="got 31"):
        sign_digest(bytes(31), KEYS[0])


def test_only_the_public_half_is_compared() -> None:
    assert KeyPair(KEYS[0].public_key, b"") == KEYS[0]


@pytest.mark.parametrize("field", ["amount_lo", "recipient", "sender", "signature", "nonce"])
def test_any_change_after_signing_is_found_in_its_row(field: str) -> None:
    records = unsigned(60)
    sign_records(records, KEY, KEYS, np.arange(60) % 3)
    assert verify_records(records, transaction_ids(records, KEY)) == b"\1" * 60
    records.view(np.uint8).reshape(60, -1)[41, (RECORD.fields or {})[field][1]] ^= 1
    expected = bytes(i != 41 for i in range(60))
    assert verify_records(records, transaction_ids(records, KEY)) == expected
    with pytest.raises(ShapeError, match="60 public keys but 59 digests"):
        verify_records(records, bytes(59 * 32))
