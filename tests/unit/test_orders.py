"""A transaction of one's own: which account, which nonce, which fields."""

from typing import Any

import pytest

from cherrydag.address import Network, address_of, encode_address
from cherrydag.errors import Overloaded, Rejected, ShapeError
from cherrydag.params import VALID_FOREVER
from cherrydag.payload import body_offsets
from cherrydag.primitives import Address, Digest
from cherrydag.runtime.orders import Nonces, Payer, Terms, address_of_owner
from cherrydag.runtime.submissions import SubmittedRows
from cherrydag.signing import generate_keypair, sign_digest
from cherrydag.transaction import Kind, Records, transaction_ids

KEY = generate_keypair(bytes(32))
OWN, OTHER = address_of(KEY.public_key), address_of(generate_keypair(b"o" * 32).public_key)
NOW_S = 1_800_000_000
FULL = Overloaded("submissions: too many are open")


def test_an_owner_is_named_by_key_by_text_and_by_address() -> None:
    text = encode_address(OWN, Network.DEV)
    assert {address_of_owner(owner, Network.DEV) for owner in (KEY, text, OWN)} == {OWN}
    for size in (19, 21):
        with pytest.raises(ShapeError, match="20 bytes"):
            address_of_owner(bytes(size), Network.DEV)


def test_no_nonce_is_given_out_twice_or_beyond_the_limit() -> None:
    nonces = Nonces()
    assert [nonces.take(OWN, 3, 6, NOW_S) for _ in range(4)] == [3, 4, 5, None]
    assert nonces.take(OTHER, 0, 1, NOW_S) == 0
    assert nonces.take(OWN, 4, 7, NOW_S) == 6


def test_nonces_that_were_used_elsewhere_are_passed_over() -> None:
    nonces = Nonces()
    assert nonces.take(OWN, 0, 64, NOW_S) == 0
    assert nonces.take(OWN, 9, 73, NOW_S) == 9


def test_a_refused_nonce_is_given_out_again_whatever_came_after_it() -> None:
    nonces = Nonces()
    first, second, third = (nonces.take(OWN, 0, 64, NOW_S) for _ in range(3))
    nonces.refused(OWN, 1, FULL)
    nonces.refused(OWN, 0, Rejected("mempool_fee_low", "transaction 0: below the floor"))
    assert (first, second, third) == (0, 1, 2)
    assert [nonces.take(OWN, 0, 4, NOW_S) for _ in range(4)] == [0, 1, 3, None]


def test_a_refused_nonce_that_was_used_since_is_forgotten() -> None:
    nonces = Nonces()
    assert nonces.take(OWN, 0, 64, NOW_S) == 0
    nonces.refused(OWN, 0, FULL)
    assert nonces.take(OWN, 1, 65, NOW_S) == 1


def test_a_nonce_that_another_transaction_has_is_not_given_out_again() -> None:
    nonces = Nonces()
    assert nonces.take(OWN, 0, 64, NOW_S) == 0
    nonces.refused(OWN, 0, Rejected("mempool_nonce", "transaction 0: its sender has one of this nonce"))
    assert nonces.take(OWN, 0, 64, NOW_S) == 1


def test_a_nonce_in_doubt_is_given_out_again_only_where_it_holds_up_the_others() -> None:
    nonces = Nonces()
    assert [nonces.take(OWN, 0, 4, NOW_S) for _ in range(2)] == [0, 1]
    nonces.doubt(OWN, 0)
    assert [nonces.take(OWN, 0, 4, NOW_S) for _ in range(4)] == [2, 3, 0, None]
    nonces.doubt(OWN, 1)
    assert nonces.take(OWN, 2, 4, NOW_S) is None  # it was used after all


def test_a_nonce_whose_transaction_expired_is_given_out_again_where_it_holds_up_the_others() -> None:
    nonces = Nonces()
    assert [nonces.take(OWN, 0, 3, NOW_S) for _ in range(3)] == [0, 1, 2]
    nonces.doubt(OWN, 0, NOW_S + 5)
    assert [nonces.take(OWN, 0, 3, NOW_S + late_s) for late_s in (5, 6, 99)] == [None, 0, None]


def test_above_the_lowest_that_is_unused_nothing_in_doubt_is_given_out() -> None:
    """It may have been used: an account's nonces are, in any order."""
    nonces = Nonces()
    assert [nonces.take(OWN, 0, 3, NOW_S) for _ in range(3)] == [0, 1, 2]
    nonces.doubt(OWN, 1)
    nonces.doubt(OWN, 2, NOW_S - 1)
    assert nonces.take(OWN, 0, 3, NOW_S) is None
    assert nonces.take(OWN, 1, 3, NOW_S) == 1
    assert nonces.take(OWN, 2, 3, NOW_S) == 2


def test_nonces_in_doubt_that_were_used_are_not_kept() -> None:
    nonces = Nonces()
    for number in range(300):
        assert nonces.take(OWN, number, number + 64, NOW_S) == number
        nonces.doubt(OWN, number, NOW_S)
    (given,) = nonces._accounts.values()
    assert len(given.doubtful) == 1


def test_accounts_that_were_not_asked_for_of_late_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nonces, "ACCOUNTS_MAX", 2)
    nonces, third = Nonces(), Address(bytes(20))
    for address in (OWN, OTHER, OWN, third):
        nonces.take(address, 0, 64, NOW_S)
    assert [nonces.take(address, 0, 64, NOW_S) for address in (OWN, OTHER)] == [2, 0]


# Orders


class Till(Payer[SubmittedRows]):
    """A ledger that takes what it gets, or raises what it is told to."""

    def __init__(self, *faults: Exception) -> None:
        super().__init__()
        self.faults = list(faults)
        self.taken: list[tuple[Records, bytes]] = []
        self.window = 7, 7 + 3

    async def submit(self, records: Any, bodies: Any = b"", *, wait: bool = True) -> SubmittedRows:
        if self.faults:
            raise self.faults.pop(0)
        self.taken.append((records, bodies))
        return SubmittedRows(bytes(32))

    async def _terms(self) -> Terms:
        return Terms(Network.DEV, bytes(32), 2)

    async def _nonce_window(self, address: bytes) -> tuple[int, int]:
        return self.window

    async def _next_commit(self) -> None:
        raise EOFError


async def test_an_order_is_one_record_of_its_kind_signed_with_its_nonce() -> None:
    till = Till()
    await till.transfer(KEY, OTHER, 5, asset=3, valid_until=4)
    await till.operate(KEY, 16, b"body", amount=6, fee=9)
    (transfer, _), (operation, _) = till.taken
    names = ["kind", "nonce", "body_size", "amount_lo", "fee", "asset", "valid_until"]
    assert transfer[names][0].item() == (Kind.TRANSFER, 7, 0, 5, 2, 3, 4)
    assert operation[names][0].item() == (16, 8, 4, 6, 9, 0, VALID_FOREVER)
    assert bytes(transfer["recipient"][0]) == OTHER and not operation["recipient"][0].any()
    for record, body in till.taken:
        assert bytes(record["sender"][0]) == KEY.public_key
        signing = Digest(transaction_ids(record, bytes(32), body, body_offsets(record, len(body))))
        assert record["signature"][0].tobytes() == sign_digest(signing, KEY)


async def test_a_node_that_breaks_off_does_not_hold_up_an_account_for_ever() -> None:
    till = Till(ConnectionError(), FULL, TimeoutError())
    for fault in (ConnectionError, Overloaded, TimeoutError):
        with pytest.raises(fault):
            await till.transfer(KEY, OTHER, 1)
    for unused in (7, 7, 8):
        till.window = unused, 10
        await till.transfer(KEY, OTHER, 1)
    assert [int(record["nonce"][0]) for record, _ in till.taken] == [9, 7, 8]
    with pytest.raises(EOFError):  # all are given out: it waits
        await till.transfer(KEY, OTHER, 1)
    await till.transfer(KEY, OTHER, 1, nonce=40)
    assert till.taken[-1][0]["nonce"][0] == 40


async def test_what_expires_does_not_hold_up_an_account_for_ever() -> None:
    till = Till()
    for valid_until in (4, VALID_FOREVER, VALID_FOREVER, VALID_FOREVER):
        await till.transfer(KEY, OTHER, 1, valid_until=valid_until)
    assert [int(records["nonce"][0]) for records, _ in till.taken] == [7, 8, 9, 7]
    with pytest.raises(EOFError):
        await till.transfer(KEY, OTHER, 1)
