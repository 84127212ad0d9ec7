"""Accounts against plain dicts and ints, whatever is done to them in whatever order."""

import numpy as np
from account_rig import (
    ADDRESSES,
    BUCKET_KEY,
    DEPTH,
    KEYS,
    NOW_S,
    SENDERS,
    U128_MAX,
    all_entries,
    make,
    record,
    rows,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reference.ledger_reference import ReferenceLedger

from cherrydag.address import ADDRESS_KEY, address_of
from cherrydag.execution.accounts import Line
from cherrydag.params import NONCE_MAX, VALID_FOREVER

amounts = st.one_of(
    st.integers(0, 30),
    st.sampled_from([2**64 - 1, 2**64, 2**127, U128_MAX - 10, U128_MAX - 1, U128_MAX]),
)
bases = st.one_of(st.integers(0, 3), st.sampled_from([2**64 - 200, NONCE_MAX - 63, NONCE_MAX, NONCE_MAX + 1]))
transfers = st.fixed_dictionaries(
    {
        "asset": st.sampled_from([0, 0, 0, 1, 2, 2**32 - 1]),
        "amount": amounts,
        "fee": st.sampled_from([0, 1, 1, 2, 7, 2**64 - 1]),
        "ahead": st.sampled_from([0, 0, 0, 1, 2, 5, 62, 63, 64, 65, -1, -2]),
        "valid_until": st.sampled_from([VALID_FOREVER] * 4 + [NOW_S - 1, NOW_S, NOW_S + 1]),
        "recipient": st.sampled_from(ADDRESSES),
        "sender": st.sampled_from(KEYS),
        "kind": st.sampled_from([1] * 20 + [0, 2]),
        "scheme": st.sampled_from([1] * 20 + [0, 2]),
        "flags": st.sampled_from([0] * 20 + [1]),
        "body_size": st.sampled_from([0] * 20 + [1]),
    }
)


class AgainstReference(RuleBasedStateMachine):
    """Every operation on both; what they show must agree at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.clean = [b""] * (1 << DEPTH)

    @initialize(seed=st.binary(min_size=16, max_size=16), rich=st.lists(st.sampled_from(SENDERS)))
    def open(self, seed: bytes, rich: list[bytes]) -> None:
        self.accounts = make(seed=seed)
        self.expected = ReferenceLedger(BUCKET_KEY, ADDRESS_KEY, DEPTH)
        for address in rich:
            self.put_line(address, 0, 10_000, 0, 0, 0)

    def put_line(self, address: bytes, asset: int, balance: int, base: int, mask: int, flags: int) -> None:
        self.accounts.put(address, Line(balance, base, mask, flags), asset)
        self.expected.put(address, asset, balance, base, mask, flags)

    @rule(
        address=st.sampled_from(ADDRESSES),
        balance=amounts,
        base=bases,
        mask=st.sampled_from([0, 0, 2, 2**63, 2**64 - 2]),
        flags=st.sampled_from([0, 0, 0, 1, 2, 2**32 - 1]),
    )
    def put_account(self, address: bytes, balance: int, base: int, mask: int, flags: int) -> None:
        mask &= (1 << NONCE_MAX + 1 - base) - 1 if base > NONCE_MAX - 64 else -1
        self.put_line(address, 0, balance, base, mask, flags)

    @rule(
        address=st.sampled_from(ADDRESSES),
        asset=st.sampled_from([1, 2, 2**32 - 1]),
        balance=amounts,
        flags=st.sampled_from([0, 0, 0, 1]),
    )
    def put_holding(self, address: bytes, asset: int, balance: int, flags: int) -> None:
        self.put_line(address, asset, balance, 0, 0, flags)

    def pack(self, made: dict) -> bytes:
        fields = dict(made)
        base = self.expected.line(address_of(fields["sender"])).base
        nonce = min(max(base + fields.pop("ahead"), 0), 2**64 - 1)
        return record(nonce=nonce, **fields)

    @rule(batch=st.lists(transfers, max_size=6), known=st.booleans())
    def transfer(self, batch: list[dict], known: bool) -> None:
        packed = [self.pack(made) for made in batch]
        statuses = np.full(len(packed), 99, np.uint8)
        senders = np.frombuffer(b"".join(address_of(made["sender"]) for made in batch), np.uint8)
        supply = self.expected.total(0) + self.expected.fees
        expected = self.expected.apply(b"".join(packed), NOW_S)
        handled = self.accounts.apply(rows(*packed), statuses, NOW_S, senders=senders if known else None)
        assert statuses.tolist() == expected + [99] * (len(packed) - len(expected))
        assert handled == len(expected)
        assert self.accounts.audit() + self.accounts.fees == supply

    @rule(made=transfers, sender=st.none() | st.sampled_from(ADDRESSES), forbidden=st.sampled_from([0, 1, 2]))
    def begin(self, made: dict, sender: bytes | None, forbidden: int) -> None:
        packed = self.pack(made)
        got = self.accounts.begin_operation(packed, NOW_S, sender=sender, forbidden=forbidden)
        assert got == self.expected.begin(packed, NOW_S, sender, forbidden)

    @rule(batch=st.lists(transfers, max_size=70), forbidden=st.sampled_from([0, 1, 2]))
    def judge(self, batch: list[dict], forbidden: int) -> None:
        packed = [self.pack(made) for made in batch]
        got = self.accounts.judge(rows(*packed), NOW_S, forbidden=forbidden)
        senders = [address_of(made["sender"]) for made in batch]
        judged = [
            self.expected.admit(sender, one, NOW_S, forbidden)
            for sender, one in zip(senders, packed, strict=True)
        ]
        assert got.tolist() == judged

    @rule(fees=amounts)
    def set_fees(self, fees: int) -> None:
        self.accounts.set_fees(fees)
        self.expected.fees = fees

    @rule()
    def drain(self) -> None:
        """Whatever changed is among the drained; nothing else need be read again."""
        drained = self.accounts.drain_dirty()
        assert drained.tolist() == sorted(set(drained.tolist()))
        data, offsets = self.accounts.bucket_entries(drained)
        for bucket, a, b in zip(drained.tolist(), offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            self.clean[bucket] = data[a:b]
        assert self.clean == self.expected.entries()

    @rule(seed=st.binary(min_size=16, max_size=16), count_max=st.integers(1, 5))
    def reload(self, seed: bytes, count_max: int) -> None:
        copy = make(seed=seed)
        for lines in self.accounts.export_all(count_max):
            copy.load(lines)
        copy.set_fees(self.accounts.fees)
        assert copy.dirty_count == sum(1 for entries in self.expected.entries() if entries)
        self.accounts = copy
        self.clean = [b""] * (1 << DEPTH)

    @invariant()
    def agree(self) -> None:
        visible = self.expected.visible()
        assert len(self.accounts) == len(visible)
        assert self.accounts.fees == self.expected.fees
        for address in ADDRESSES:
            for asset in (0, 1, 2, 2**32 - 1):
                assert self.accounts.get(address, asset) == self.expected.get(address, asset)
        for asset in (0, 1):
            assert self.accounts.audit(asset) == self.expected.total(asset)
        assert all_entries(self.accounts) == self.expected.entries()
        assert self.accounts._table.is_sound()


TestAgainstReference = AgainstReference.TestCase
TestAgainstReference.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)


@settings(max_examples=60)
@given(order=st.permutations(range(12)), seed=st.binary(min_size=16, max_size=16))
def test_order_of_arrival_and_seed_do_not_show(order: list[int], seed: bytes) -> None:
    lines = [(ADDRESSES[i % 6], Line(i + 1), i // 6) for i in range(12)]
    plain, shuffled = make(), make(seed=seed)
    for line in lines:
        plain.put(*line)
    for i in order:
        shuffled.put(lines[i][0], Line(99), 7)
        shuffled.put(*lines[i])
    for i in order:
        shuffled.put(lines[i][0], Line(0), 7)
    assert all_entries(plain) == all_entries(shuffled)
