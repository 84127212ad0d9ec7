"""A transaction of one's own: which account, which nonce."""

import pytest

from cherrydag.address import Network, address_of, encode_address
from cherrydag.errors import Overloaded, Rejected, ShapeError
from cherrydag.payload import body_offsets
from cherrydag.primitives import Digest
from cherrydag.runtime.orders import Nonces, address_of_owner, sign_order, unsigned_order
from cherrydag.signing import generate_keypair, sign_digest
from cherrydag.transaction import Kind, transaction_ids

KEY = generate_keypair(bytes(32))
OWN, OTHER = address_of(KEY.public_key), address_of(generate_keypair(b"o" * 32).public_key)
FULL = Overloaded("submissions: too many are open")


def test_an_owner_is_named_by_key_by_text_and_by_address() -> None:
    text = encode_address(OWN, Network.DEV)
    assert {address_of_owner(owner, Network.DEV) for owner in (KEY, text, OWN)} == {OWN}
    for size in (19, 21):
        with pytest.raises(ShapeError, match="20 bytes"):
            address_of_owner(bytes(size), Network.DEV)


def test_no_nonce_is_given_out_twice_or_beyond_the_limit() -> None:
    nonces = Nonces()
    assert [nonces.take(OWN, 3, 6) for _ in range(4)] == [3, 4, 5, None]
    assert nonces.take(OTHER, 0, 1) == 0
    assert nonces.take(OWN, 4, 7) == 6


def test_nonces_that_were_used_elsewhere_are_passed_over() -> None:
    nonces = Nonces()
    assert nonces.take(OWN, 0, 64) == 0
    assert nonces.take(OWN, 9, 73) == 9


def test_a_refused_nonce_is_given_out_again_whatever_came_after_it() -> None:
    nonces = Nonces()
    first, second, third = (nonces.take(OWN, 0, 64) for _ in range(3))
    nonces.refused(OWN, 1, FULL)
    nonces.refused(OWN, 0, Rejected("mempool_fee_low", "transaction 0: below the floor"))
    assert (first, second, third) == (0, 1, 2)
    assert [nonces.take(OWN, 0, 4) for _ in range(4)] == [0, 1, 3, None]


def test_a_refused_nonce_that_was_used_since_is_forgotten() -> None:
    nonces = Nonces()
    assert nonces.take(OWN, 0, 64) == 0
    nonces.refused(OWN, 0, FULL)
    assert nonces.take(OWN, 1, 65) == 1


def test_a_nonce_that_another_transaction_has_is_not_given_out_again() -> None:
    nonces = Nonces()
    assert nonces.take(OWN, 0, 64) == 0
    nonces.refused(OWN, 0, Rejected("mempool_nonce", "transaction 0: its sender has one of this nonce"))
    assert nonces.take(OWN, 0, 64) == 1


def test_an_order_is_one_record_of_its_kind_signed_with_its_nonce() -> None:
    fields = {"amount": 5, "fee": 2, "asset": 3, "valid_until": 4}
    record = unsigned_order(KEY, Kind.TRANSFER, b"", OTHER, **fields)
    sign_order(KEY, record, b"", 7, bytes(32))
    assert (record["kind"][0], record["nonce"][0], record["body_size"][0]) == (Kind.TRANSFER, 7, 0)
    assert bytes(record["recipient"][0]) == OTHER and bytes(record["sender"][0]) == KEY.public_key
    with_body = unsigned_order(KEY, 16, b"body", OTHER, **fields)
    sign_order(KEY, with_body, b"body", 7, bytes(32))
    assert (with_body["kind"][0], with_body["body_size"][0]) == (16, 4)
    for signed, body in ((record, b""), (with_body, b"body")):
        offsets = body_offsets(signed, len(body))
        signing = Digest(transaction_ids(signed, bytes(32), body, offsets))
        assert signed["signature"][0].tobytes() == sign_digest(signing, KEY)
