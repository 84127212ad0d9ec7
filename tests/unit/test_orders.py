"""A transaction of one's own: which account, which nonce, which fields."""

from typing import Any

import pytest

from cherrydag.address import Network, address_of, encode_address
from cherrydag.errors import Overloaded, Rejected, ShapeError
from cherrydag.params import VALID_FOREVER
from cherrydag.payload import body_offsets
from cherrydag.primitives import Address, Digest
from cherrydag.runtime.orders import Nonces, Payer, Terms, address_of_owner
from cherrydag.runtime.submissions import Phase, SubmittedRows
from cherrydag.signing import generate_keypair, sign_digest
from cherrydag.transaction import Kind, Records, transaction_ids

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


def test_a_nonce_is_freed_once_and_by_the_transaction_that_has_it() -> None:
    nonces, first, second = Nonces(), Digest(b"1" * 32), Digest(b"2" * 32)
    assert [nonces.take(OWN, 0, 2) for _ in range(3)] == [0, 1, None]
    assert nonces.holder(OWN, 0) is None
    nonces.handed_in(OWN, 0, first)
    assert nonces.holder(OWN, 0) == first
    for holder in (second, first, first):
        nonces.free(OWN, 0, holder)
    assert [nonces.take(OWN, 0, 2) for _ in range(2)] == [0, None]
    nonces.handed_in(OWN, 0, second)
    nonces.free(OWN, 0, first)
    assert nonces.take(OWN, 0, 2) is None


def test_holders_of_nonces_that_were_used_are_not_kept() -> None:
    nonces = Nonces()
    for number in range(300):
        assert nonces.take(OWN, number, number + 64) == number
        nonces.handed_in(OWN, number, Digest(bytes(32)))
    (given,) = nonces._accounts.values()
    assert len(given.holders) == 1


def test_accounts_that_were_not_asked_for_of_late_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nonces, "ACCOUNTS_MAX", 2)
    nonces, third = Nonces(), Address(bytes(20))
    for address in (OWN, OTHER, OWN, third):
        nonces.take(address, 0, 64)
    assert [nonces.take(address, 0, 64) for address in (OWN, OTHER)] == [2, 0]


# Orders


class Till(Payer[SubmittedRows]):
    """A ledger that takes what it gets, or raises what it is told to. phase: of all that it took."""

    def __init__(self, *faults: Exception) -> None:
        super().__init__()
        self.faults = list(faults)
        self.taken: list[tuple[Records, bytes]] = []
        self.window = 7, 7 + 3
        self.phase: Phase | None = Phase.ACCEPTED
        self.asked: list[Digest] = []

    async def submit(self, records: Any, bodies: Any = b"", *, wait: bool = True) -> SubmittedRows:
        if self.faults:
            raise self.faults.pop(0)
        self.taken.append((records, bodies))
        return SubmittedRows(transaction_ids(records, bytes(32), bodies, body_offsets(records, len(bodies))))

    async def _terms(self) -> Terms:
        return Terms(Network.DEV, bytes(32), 2)

    async def _nonce_window(self, address: bytes) -> tuple[int, int]:
        return self.window

    async def _phase(self, transaction_id: Digest) -> Phase | None:
        self.asked.append(transaction_id)
        return self.phase

    async def _next_commit(self) -> None:
        raise EOFError

    @property
    def nonces(self) -> list[int]:
        """Of what it took."""
        return [int(record["nonce"][0]) for record, _ in self.taken]


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
    await till.transfer(KEY, OTHER, 1)
    assert till.nonces == [9] and not till.asked
    till.phase = None  # it has never heard of the two
    for unused in (7, 8):
        till.window = unused, 10
        await till.transfer(KEY, OTHER, 1)
    assert till.nonces == [9, 7, 8]
    till.phase = Phase.ACCEPTED
    with pytest.raises(EOFError):  # all are under way: it waits
        await till.transfer(KEY, OTHER, 1)
    await till.transfer(KEY, OTHER, 1, nonce=40)
    assert till.nonces[-1] == 40


@pytest.mark.parametrize("phase", [Phase.FINAL, Phase.DROPPED, None])
async def test_what_came_to_nothing_does_not_hold_up_an_account_for_ever(phase: Phase | None) -> None:
    """It was executed without a trace, expired, or was outbid."""
    till = Till()
    for _ in range(3):
        await till.transfer(KEY, OTHER, 1)
    first = transaction_ids(till.taken[0][0], bytes(32), b"", body_offsets(till.taken[0][0], 0))
    for under_way in (Phase.ACCEPTED, Phase.SEQUENCED):
        till.phase = under_way
        with pytest.raises(EOFError):
            await till.transfer(KEY, OTHER, 1)
    till.phase = phase
    await till.transfer(KEY, OTHER, 2)
    assert till.nonces == [7, 8, 9, 7]
    assert till.asked == [first] * 3


async def test_what_is_final_and_shows_in_the_window_only_now_was_not_for_nothing() -> None:
    class Late(Till):
        async def _phase(self, transaction_id: Digest) -> Phase | None:
            self.window = 8, 11
            return Phase.FINAL

    till = Late()
    for _ in range(4):
        await till.transfer(KEY, OTHER, 1)
    assert till.nonces == [7, 8, 9, 10]
