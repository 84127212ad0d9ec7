"""Assets: who creates, mints and burns what, and that supply is what people hold."""

import pytest
from execution_rig import NOBODY, USERS, Rig
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.errors import InvariantViolation, Rejected
from cherrydag.execution.accounts import Line, Status
from cherrydag.execution.assets import (
    ASSET_MAX,
    DECIMALS_MAX,
    Asset,
    AssetBurned,
    AssetCreated,
    AssetKind,
    AssetMinted,
    AssetRefusal,
    Assets,
    decode_create,
    encode_create,
)
from cherrydag.execution.body import BodyRefusal
from cherrydag.execution.overlay import MoveRefusal, Overlay, View
from cherrydag.params import AMOUNT_MAX

ISSUER, OTHER = 0, 1


def make(symbol: str = "TEA", decimals: int = 2) -> Rig:
    rig = Rig(Assets())
    assert rig.do(ISSUER, AssetKind.CREATE, body=encode_create(symbol, decimals)).status == Status.APPLIED
    return rig


def asset(rig: Rig, number: int = 1) -> Asset | None:
    return Assets().get(View(Overlay(rig.accounts, rig.entries), Assets.powers), number)


def mint(rig: Rig, amount: int, user: int = ISSUER, **fields: object) -> object:
    return rig.do(user, AssetKind.MINT, **{"asset": 1, "amount": amount, "recipient": USERS[OTHER]} | fields)


def test_asset_is_created_with_the_next_number_and_no_supply() -> None:
    rig = make()
    assert asset(rig) == (USERS[ISSUER], "TEA", 2, 0)
    receipt = rig.do(OTHER, AssetKind.CREATE, body=encode_create("TEA", 0))
    assert receipt.events == (AssetCreated(2, USERS[OTHER], "TEA", 0),)
    assert asset(rig, 2) == (USERS[OTHER], "TEA", 0, 0)
    rig.executor.audit()


def test_minted_asset_is_moved_by_plain_transfers_and_burned_by_its_issuer() -> None:
    rig = make()
    assert mint(rig, 100).events == (AssetMinted(1, USERS[OTHER], 100),)  # type: ignore[attr-defined]
    assert rig.transfer(OTHER, USERS[ISSUER], 30, asset=1) == Status.APPLIED
    assert rig.transfer(OTHER, USERS[2], 71, asset=1) == Status.INSUFFICIENT
    assert rig.do(ISSUER, AssetKind.BURN, asset=1, amount=31).refusal == MoveRefusal.INSUFFICIENT
    assert rig.do(ISSUER, AssetKind.BURN, asset=1, amount=30).events == (AssetBurned(1, 30),)
    assert asset(rig) == (USERS[ISSUER], "TEA", 2, 70)
    assert rig.balance(USERS[OTHER], 1) == 70 and rig.accounts.get(USERS[ISSUER], 1) is None
    rig.executor.audit()


def test_nobody_but_the_issuer_mints_or_burns() -> None:
    rig = make()
    mint(rig, 5)
    assert mint(rig, 5, user=OTHER).refusal == AssetRefusal.NOT_ISSUER  # type: ignore[attr-defined]
    assert rig.do(OTHER, AssetKind.BURN, asset=1, amount=5).refusal == AssetRefusal.NOT_ISSUER
    assert asset(rig) == (USERS[ISSUER], "TEA", 2, 5)


@pytest.mark.parametrize("number", [0, 2, 2**32 - 1])
def test_what_is_not_registered_is_not_minted(number: int) -> None:
    receipt = mint(make(), 5, asset=number)
    assert receipt.refusal == AssetRefusal.UNKNOWN  # type: ignore[attr-defined]


def test_supply_stops_at_128_bits() -> None:
    rig = make()
    assert mint(rig, AMOUNT_MAX - 1).status == Status.APPLIED  # type: ignore[attr-defined]
    refused = mint(rig, 2, recipient=USERS[3])
    assert refused.refusal == AssetRefusal.SUPPLY  # type: ignore[attr-defined]
    assert mint(rig, 1, recipient=USERS[3]).status == Status.APPLIED  # type: ignore[attr-defined]
    assert mint(rig, 0).refusal == AssetRefusal.AMOUNT_ZERO  # type: ignore[attr-defined]
    rig.executor.audit()


def test_symbol_is_an_issuer_s_once() -> None:
    rig = make()
    again = rig.do(ISSUER, AssetKind.CREATE, body=encode_create("TEA", 2))
    assert again.refusal == AssetRefusal.SYMBOL_TAKEN and asset(rig, 2) is None
    assert rig.do(ISSUER, AssetKind.CREATE, body=encode_create("TEAS", 2)).status == Status.APPLIED


def test_numbers_end() -> None:
    rig = make()
    rig.entries.put(1, b"\x01", (ASSET_MAX - 1).to_bytes(4, "little"))
    last = rig.do(ISSUER, AssetKind.CREATE, body=encode_create("LAST", 2))
    assert last.status == Status.APPLIED and asset(rig, ASSET_MAX) is not None
    over = rig.do(ISSUER, AssetKind.CREATE, body=encode_create("OVER", 2))
    assert over.refusal == AssetRefusal.NUMBERS_SPENT


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (AssetKind.CREATE, {"asset": 1, "body": encode_create("X", 0)}),
        (AssetKind.CREATE, {"amount": 1, "body": encode_create("X", 0)}),
        (AssetKind.CREATE, {"recipient": USERS[1], "body": encode_create("X", 0)}),
        (AssetKind.MINT, {"asset": 1, "amount": 1, "body": b"x"}),
        (AssetKind.BURN, {"asset": 1, "amount": 1, "body": b"x"}),
        (AssetKind.BURN, {"asset": 1, "amount": 1, "recipient": USERS[1]}),
    ],
)
def test_unused_field_is_refused(kind: AssetKind, fields: dict[str, object]) -> None:
    assert make().do(ISSUER, kind, **fields).refusal == BodyRefusal.FIELD_SET


@pytest.mark.parametrize("decimals", [0, DECIMALS_MAX - 1, DECIMALS_MAX])
@pytest.mark.parametrize("symbol", ["A", "A9", "ABCDEFGHIJK", "ABCDEFGHIJKL"])
def test_create_s_body_round_trips(symbol: str, decimals: int) -> None:
    assert decode_create(encode_create(symbol, decimals)) == (symbol, decimals)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", BodyRefusal.TRUNCATED),
        (b"\x00", BodyRefusal.TRUNCATED),
        (b"\x00\x02A", BodyRefusal.TRUNCATED),
        (b"\x00\x01AB", BodyRefusal.TRAILING),
        (b"\x13\x01A", AssetRefusal.DECIMALS),
        (b"\x00\x00", AssetRefusal.SYMBOL),
        (encode_create("ABCDEFGHIJKLM", 0), AssetRefusal.SYMBOL),
        (encode_create("tea", 0), AssetRefusal.SYMBOL),
        (encode_create("9A", 0), AssetRefusal.SYMBOL),
        (encode_create("A\n", 0), AssetRefusal.SYMBOL),
        (b"\x00\x02A\xff", AssetRefusal.SYMBOL),
    ],
)
def test_wrong_body_is_refused_with_its_code(body: bytes, code: str) -> None:
    assert make().do(ISSUER, AssetKind.CREATE, body=body).refusal == code


@given(st.binary(max_size=20))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    try:
        symbol, decimals = decode_create(body)
    except Rejected:
        return
    assert encode_create(symbol, decimals) == body


def test_audit_finds_holdings_that_nobody_issued() -> None:
    rig = make()
    mint(rig, 5)
    rig.accounts.put(USERS[4], Line(1), 1)
    with pytest.raises(InvariantViolation, match="sum of holdings"):
        rig.executor.audit()
    rig.accounts.put(USERS[4], Line(0), 1)
    rig.executor.audit()
    rig.accounts.put(NOBODY, Line(1), 2)
    with pytest.raises(InvariantViolation, match="registered"):
        rig.executor.audit()
