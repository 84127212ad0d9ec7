"""The account table in plain Python: dicts, ints and sets, one transaction at a time.

Written from the rules, not from the native code: an account's window is the set of the nonces it used, and
lines are looked up by (address, asset).
"""

import struct
from dataclasses import dataclass, field

from blake3 import blake3

RECORD = struct.Struct("<BBHIQQQQII20s12s32s64s")
KINDS_PLAIN = (1, 1, 0)  # kind transfer, scheme Ed25519, no flags
FOREVER = 2**32 - 1
U128_MAX = 2**128 - 1
NONCE_MAX = 2**64 - 2 - 64
WINDOW = 64
POLICY_FLAG = 1

APPLIED, INSUFFICIENT, OVERFLOW, EXPIRED, POLICY, NONCE_USED, NONCE_FAR, FEE_UNPAYABLE = range(1, 9)

Key = tuple[bytes, int]


@dataclass
class ReferenceLine:
    """What stands under an address and an asset. `used`: nonces at or above `base` that are used."""

    balance: int = 0
    base: int = 0
    used: set[int] = field(default_factory=set)
    flags: int = 0

    @property
    def mask(self) -> int:
        return sum(1 << nonce - self.base for nonce in self.used)

    @property
    def fields(self) -> tuple[int, int, int, int]:
        return self.balance, self.base, self.mask, self.flags

    def use(self, nonce: int) -> None:
        self.used.add(nonce)
        while self.base in self.used:
            self.used.remove(self.base)
            self.base += 1


class ReferenceLedger:
    """The whole state; lines that say nothing may linger in `lines` but are never shown."""

    def __init__(self, bucket_key: bytes, address_key: bytes, depth: int) -> None:
        self.bucket_key, self.address_key, self.depth = bucket_key, address_key, depth
        self.lines: dict[Key, ReferenceLine] = {}
        self.fees = 0

    def address_of(self, public_key: bytes) -> bytes:
        return blake3(public_key, key=self.address_key).digest()[:20]

    def line(self, address: bytes, asset: int = 0) -> ReferenceLine:
        return self.lines.setdefault((address, asset), ReferenceLine())

    def get(self, address: bytes, asset: int = 0) -> tuple[int, int, int, int] | None:
        line = self.lines.get((address, asset), ReferenceLine())
        return line.fields if any(line.fields) else None

    def put(self, address: bytes, asset: int, balance: int, base: int, mask: int, flags: int) -> None:
        used = {base + bit for bit in range(WINDOW) if mask >> bit & 1}
        self.lines[address, asset] = ReferenceLine(balance, base, used, flags)

    def apply(self, records: bytes, now_s: int) -> list[int]:
        """Statuses of the records up to the first that is not a plain transfer."""
        statuses = []
        for at in range(0, len(records), RECORD.size):
            fields = RECORD.unpack_from(records, at)
            if fields[:3] != KINDS_PLAIN or fields[9] != 0:
                break
            statuses.append(self.transfer(records[at : at + RECORD.size], now_s))
        return statuses

    def transfer(self, record: bytes, now_s: int) -> int:
        asset, low, high, fee = (RECORD.unpack(record)[i] for i in (3, 5, 6, 7))
        recipient, public_key = (RECORD.unpack(record)[i] for i in (10, 12))
        amount = low + (high << 64)
        sender = self.address_of(public_key)
        status = self.admit(sender, record, now_s, POLICY_FLAG)
        if status != APPLIED:
            return status
        spendable = self.line(sender, asset).balance - (fee if asset == 0 else 0)
        self.charge(sender, record)
        if amount > spendable:
            return INSUFFICIENT
        if recipient == sender:
            return APPLIED
        if self.line(recipient, asset).balance + amount > U128_MAX:
            return OVERFLOW
        self.line(sender, asset).balance -= amount
        self.line(recipient, asset).balance += amount
        return APPLIED

    def begin(self, record: bytes, now_s: int, sender: bytes | None, forbidden: int) -> int:
        who = self.address_of(RECORD.unpack(record)[12]) if sender is None else sender
        status = self.admit(who, record, now_s, forbidden)
        if status == APPLIED:
            self.charge(who, record)
        return status

    def admit(self, sender: bytes, record: bytes, now_s: int, forbidden: int) -> int:
        nonce, fee, valid_until = (RECORD.unpack(record)[i] for i in (4, 7, 8))
        account = self.line(sender)
        if valid_until != FOREVER and now_s > valid_until:
            return EXPIRED
        if account.flags & forbidden:
            return POLICY
        if nonce < account.base or nonce in account.used:
            return NONCE_USED
        if nonce >= account.base + WINDOW or nonce > NONCE_MAX:
            return NONCE_FAR
        if account.balance < fee or self.fees + fee > U128_MAX:
            return FEE_UNPAYABLE
        return APPLIED

    def charge(self, sender: bytes, record: bytes) -> None:
        nonce, fee = (RECORD.unpack(record)[i] for i in (4, 7))
        self.line(sender).use(nonce)
        self.line(sender).balance -= fee
        self.fees += fee

    def visible(self) -> dict[Key, tuple[int, int, int, int]]:
        return {key: line.fields for key, line in self.lines.items() if any(line.fields)}

    def total(self, asset: int) -> int:
        return sum(line.balance for (_, held), line in self.lines.items() if held == asset)

    def bucket_of(self, key: Key) -> int:
        digest = blake3(key[0] + key[1].to_bytes(4, "little"), key=self.bucket_key).digest()
        return int.from_bytes(digest, "big") >> (256 - self.depth)

    def entries(self) -> list[bytes]:
        """The content of every bucket."""
        buckets: list[list[bytes]] = [[] for _ in range(1 << self.depth)]
        for key, (balance, base, mask, flags) in self.visible().items():
            parts = ((key[1], 4), (36, 1), (balance, 16), (base, 8), (mask, 8), (flags, 4))
            entry = bytes([24]) + key[0] + b"".join(n.to_bytes(size, "little") for n, size in parts)
            buckets[self.bucket_of(key)].append(entry)
        return [b"".join(sorted(entries)) for entries in buckets]
