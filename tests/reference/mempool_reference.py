"""The mempool in plain Python: dicts and lists, one transaction at a time.

Written from the rules in mempool.h. Every choice is a search over all that is there. Slots are numbered as
the native pool numbers them (the last one freed first), since expiry goes through them in order.
"""

import struct
from dataclasses import dataclass, field
from fractions import Fraction

HEAD = struct.Struct("<BBHIQQQQII20s12s32s64s")
BODY_MAX = 65536
BLOCK = 256
STEPS = 8192
PASSED_MAX = 64
ADDED, REPLACED, DUPLICATE, NONCE, EXPIRED, FEE_LOW, SENDER_FULL, FULL, TOO_BIG = range(1, 10)
DROP_EVICTED, DROP_EXPIRED, DROP_STALE, DROP_REPLACED = range(1, 5)
UNKNOWN, WAITING, TAKEN, SETTLED = range(4)
DROPPED_MIN = 65536


def blocks(size: int) -> int:
    return -(-size // BLOCK)


def class_of(fee: int, waiting: int) -> int:
    """Eighths of an octave of fee / waiting, in units of 2^-10: found by counting up the bounds."""
    bid = (fee << 10) // waiting
    if bid < 8:
        return bid
    exponent = bid.bit_length() - 1
    return 8 * (exponent - 3) + int(Fraction(bid, 1 << exponent) * 8)


@dataclass
class Waiter:
    """A transaction that is there."""

    id: bytes
    record: bytes
    body: bytes
    sender: bytes
    nonce: int
    fee: int
    valid_until: int
    slot: int
    tag: int = 0
    is_taken: bool = False


@dataclass
class Sender:
    """One sender's transactions by nonce, and its place in the fair queue."""

    listed: dict[int, Waiter] = field(default_factory=dict)
    start: int = 0
    turn: int = 0
    is_active: bool = False
    bid_class: int | None = None

    @property
    def waiting(self) -> list[Waiter]:
        return [self.listed[nonce] for nonce in sorted(self.listed) if not self.listed[nonce].is_taken]

    @property
    def lowest(self) -> Waiter:
        return min(self.waiting, key=lambda waiter: (waiter.fee, -waiter.nonce))


class ReferenceMempool:
    """The whole pool."""

    def __init__(
        self, *, transactions_max: int, sender_max: int, body_bytes_max: int, fee_min: int, recent_max: int
    ) -> None:
        self.transactions_max, self.sender_max = transactions_max, sender_max
        self.blocks_max, self.fee_min, self.recent_max = body_bytes_max // BLOCK, fee_min, recent_max
        self.known: dict[bytes, Waiter] = {}
        self.recent: list[bytes] = []
        self.senders: dict[bytes, Sender] = {}
        self.classes: dict[int, list[bytes]] = {}
        self.free_slots: list[int] = []
        self.slots_used = 0
        self.scan_next = 0
        self.clock = 0
        self.turns = 0
        self.dropped: list[tuple[int, int]] = []
        self.drops = dict.fromkeys(range(1, 5), 0)
        self.tags_lost = 0

    @property
    def waiting(self) -> int:
        return sum(not waiter.is_taken for waiter in self.known.values())

    @property
    def blocks_held(self) -> int:
        return sum(blocks(len(waiter.body)) for waiter in self.known.values())

    def add(self, record: bytes, id_: bytes, now_s: int, body: bytes = b"", tag: int = 0) -> int:
        fields = HEAD.unpack(record)
        nonce, fee, valid_until, key = fields[4], fields[7], fields[8], fields[12]
        if len(body) > BODY_MAX or blocks(len(body)) > self.blocks_max:
            return TOO_BIG
        if id_ in self.known or id_ in self.recent:
            return DUPLICATE
        if now_s > valid_until:
            return EXPIRED
        if fee < self.fee_min:
            return FEE_LOW
        sender = self.senders.get(key, Sender())
        room = self.blocks_max - self.blocks_held
        old = sender.listed.get(nonce)
        status = ADDED
        if old is not None:
            if old.is_taken or fee < old.fee + max(1, -(-old.fee // 10)):
                return NONCE
            if blocks(len(body)) > room + blocks(len(old.body)):
                return FULL
            self.drop(old, DROP_REPLACED)
            status = REPLACED
        elif len(sender.listed) >= self.sender_max:
            return SENDER_FULL
        elif blocks(len(body)) > room:
            return FULL
        elif len(self.known) == self.transactions_max:
            refusal = self.outbid(key, fee)
            if refusal:
                return refusal
        slot = self.free_slots.pop() if self.free_slots else self.slots_used
        self.slots_used = max(self.slots_used, slot + 1)
        self.senders[key] = sender
        waiter = Waiter(id_, record, body, key, nonce, fee, valid_until, slot, tag)
        self.known[id_] = sender.listed[nonce] = waiter
        self.update(key)
        return status

    def outbid(self, key: bytes, fee: int) -> int:
        filled = [number for number, members in self.classes.items() if members]
        if not filled:
            return FULL
        loser = self.classes[min(filled)][0]
        lowest, count = self.senders[loser].lowest, len(self.senders[loser].waiting)
        own = len(self.senders[key].waiting) if key in self.senders else 0
        after = own if loser == key else own + 1
        if Fraction(fee, after) <= Fraction(lowest.fee, count):
            return FEE_LOW
        self.drop(lowest, DROP_EVICTED)
        if loser != key:
            self.update(loser)
        return 0

    def forget(self, waiter: Waiter) -> None:
        del self.known[waiter.id]
        del self.senders[waiter.sender].listed[waiter.nonce]
        self.free_slots.append(waiter.slot)

    def drop(self, waiter: Waiter, reason: int) -> None:
        self.forget(waiter)
        self.drops[reason] += 1
        if waiter.tag and len(self.dropped) < max(DROPPED_MIN, self.transactions_max):
            self.dropped.append((waiter.tag, reason))
        elif waiter.tag:
            self.tags_lost += 1

    def drain_dropped(self) -> list[tuple[int, int]]:
        drained, self.dropped = self.dropped, []
        return drained

    def update(self, key: bytes) -> None:
        """Bring the class and the turn of a sender up to date."""
        sender = self.senders[key]
        waiting = sender.waiting
        wanted = class_of(sender.lowest.fee, len(waiting)) if waiting else None
        if wanted != sender.bid_class:
            if sender.bid_class is not None:
                self.classes[sender.bid_class].remove(key)
            if wanted is not None:
                self.classes.setdefault(wanted, []).append(key)
            sender.bid_class = wanted
        if waiting and not sender.is_active:
            sender.start = max(sender.start, self.clock)
            self.turns += 1
            sender.turn = self.turns
        sender.is_active = bool(waiting)
        if not sender.listed:
            del self.senders[key]

    def due(self, key: bytes) -> int:
        sender = self.senders[key]
        first = sender.waiting[0]
        cost = (1 + blocks(len(first.body))) * 2**16
        floor = max(1, self.fee_min)
        return sender.start + max(1, cost * floor // max(floor, first.fee))

    def take(self, transactions_max: int, body_bytes_max: int, bytes_max: int, now_s: int) -> list[Waiter]:
        taken: list[Waiter] = []
        passed: list[bytes] = []
        dropped = body_bytes = 0
        while len(taken) < transactions_max and 176 * (len(taken) + 1) + body_bytes <= bytes_max:
            active = [key for key, sender in self.senders.items() if sender.is_active and key not in passed]
            if not active:
                break
            key = min(active, key=lambda key: (self.due(key), self.senders[key].turn))
            sender = self.senders[key]
            first = sender.waiting[0]
            total = body_bytes + len(first.body)
            if now_s > first.valid_until:
                if dropped == STEPS:
                    break
                dropped += 1
                self.drop(first, DROP_EXPIRED)
            elif total > body_bytes_max or 176 * (len(taken) + 1) + total > bytes_max:
                if len(passed) == PASSED_MAX:
                    break
                passed.append(key)
                continue
            else:
                body_bytes = total
                sender.start = self.due(key)
                self.turns += 1
                sender.turn = self.turns
                self.clock = max(self.clock, sender.start)
                first.is_taken = True
                taken.append(first)
            self.update(key)
        return taken

    def settle(self, ids: list[bytes]) -> list[int]:
        tags = [0] * len(ids)
        for i, id_ in enumerate(ids):
            if id_ in self.recent:
                continue
            if id_ in self.known:
                waiter = self.known[id_]
                self.forget(waiter)
                self.update(waiter.sender)
                tags[i] = waiter.tag
            self.recent = ([*self.recent, id_])[-self.recent_max :] if self.recent_max else []
        return tags

    def forget_settled(self, ids: list[bytes]) -> None:
        self.recent = [b"" if id_ in ids else id_ for id_ in self.recent]

    def status(self, id_: bytes) -> int:
        if id_ in self.known:
            return TAKEN if self.known[id_].is_taken else WAITING
        return SETTLED if id_ in self.recent else UNKNOWN

    def put_back(self, ids: list[bytes]) -> int:
        count = 0
        for id_ in ids:
            waiter = self.known.get(id_)
            if waiter is not None and waiter.is_taken:
                waiter.is_taken = False
                count += 1
                self.update(waiter.sender)
        return count

    def expire(self, now_s: int, scan_max: int) -> int:
        count = 0
        for _ in range(min(scan_max, self.slots_used)):
            slot = self.scan_next
            self.scan_next = (slot + 1) % self.slots_used
            for waiter in list(self.known.values()):
                if waiter.slot == slot and now_s > waiter.valid_until and not waiter.is_taken:
                    self.drop(waiter, DROP_EXPIRED)
                    self.update(waiter.sender)
                    count += 1
        return count

    def drop_stale(self, bases: list[tuple[bytes, int]]) -> int:
        count = 0
        for key, base in bases:
            if key not in self.senders:
                continue
            stale = [waiter for waiter in self.senders[key].waiting if waiter.nonce < base]
            for waiter in stale:
                self.drop(waiter, DROP_STALE)
            if stale:
                self.update(key)
            count += len(stale)
        return count
