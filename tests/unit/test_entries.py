"""The modules' entries: a dictionary in order, its bounds, and the buckets that it reports."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from reference.state_tree_reference import bucket_of, contents, entry

from cherrydag.errors import InvariantViolation, Rejected, ShapeError
from cherrydag.execution.entries import (
    ENTRY_OVERHEAD_BYTES,
    SCAN_MAX,
    EntryRefusal,
    EntryTable,
)
from cherrydag.state_proof import ENTRIES

DEPTH = 3
PREFIXES = st.sampled_from([0, 1, 255, 256, 65535])
KEYS = st.one_of(st.binary(max_size=3), st.sampled_from([b"\xff" * 128, b"\xff" * 127, b"a" * 128]))
VALUES = st.one_of(st.binary(max_size=3), st.sampled_from([bytes(64), bytes(65), b"x" * 1000, bytes(65536)]))


def full(prefix: int, key: bytes) -> bytes:
    return prefix.to_bytes(2, "big") + key


def refusal(call: object, *arguments: object) -> str:
    with pytest.raises(Rejected) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.code


def scan_all(
    table: EntryTable, prefix: int, limit: int, starts_with: bytes = b""
) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    page, cursor = table.scan(prefix, starts_with=starts_with, limit=limit)
    while cursor is not None:
        assert len(page) == limit and cursor == page[-1][0]
        found += page
        page, cursor = table.scan(prefix, starts_with=starts_with, after=cursor, limit=limit)
        assert page
    return found + page


class Entries(RuleBasedStateMachine):
    """Any history gives what a plain dictionary gives."""

    def __init__(self) -> None:
        super().__init__()
        self.table = EntryTable(DEPTH)
        self.plain: dict[tuple[int, bytes], bytes] = {}
        self.told: dict[int, bytes] = {}
        self.then: list[tuple[bytes, bytes]] | None = None
        self.rest: Iterator[tuple[bytes, bytes]] = iter(())

    @rule(prefix=PREFIXES, key=KEYS, value=VALUES)
    def put(self, prefix: int, key: bytes, value: bytes) -> None:
        self.table.put(prefix, key, value)
        self.plain[prefix, key] = value

    @rule(prefix=PREFIXES, key=KEYS)
    def delete(self, prefix: int, key: bytes) -> None:
        assert self.table.delete(prefix, key) == (self.plain.pop((prefix, key), None) is not None)

    @rule(data=st.data())
    def delete_one_that_is_there(self, data: st.DataObject) -> None:
        if self.plain:
            self.delete(*data.draw(st.sampled_from(sorted(self.plain))))

    @precondition(lambda self: self.then is None)
    @rule()
    def freeze(self) -> None:
        frozen = self.table.freeze()
        self.then = [(full(*key), value) for key, value in sorted(self.plain.items())]
        assert frozen.count == len(self.then)
        self.rest = iter(frozen)

    @precondition(lambda self: self.then is not None)
    @rule(count=st.integers(1, 5))
    def read_frozen(self, count: int) -> None:
        assert list(islice(self.rest, count)) == self.then[:count]
        del self.then[:count]

    @precondition(lambda self: self.then is not None)
    @rule(whole=st.booleans())
    def thaw(self, whole: bool) -> None:
        assert not whole or list(self.rest) == self.then
        self.table.thaw()
        self.then = None

    @rule()
    def drain(self) -> None:
        """Whoever takes over the buckets that are called dirty, and no others, has them all."""
        dirty = self.table.drain_dirty()
        assert dirty.dtype == np.uint32
        assert all(a < b for a, b in pairwise(dirty.tolist()))
        joined, offsets = self.table.bucket_entries(dirty)
        for bucket, (begin, end) in zip(dirty.tolist(), pairwise(offsets.tolist()), strict=True):
            self.told[bucket] = joined[begin:end]
        expected = contents(ENTRIES, DEPTH, {full(*key): value for key, value in self.plain.items()})
        assert {bucket: octets for bucket, octets in self.told.items() if octets} == expected
        assert len(self.table.drain_dirty()) == 0

    @rule(prefix=PREFIXES, starts_with=st.binary(max_size=1), limit=st.integers(1, 4))
    def scan(self, prefix: int, starts_with: bytes, limit: int) -> None:
        expected = [
            (key, value)
            for (of, key), value in sorted(self.plain.items())
            if of == prefix and key.startswith(starts_with)
        ]
        assert scan_all(self.table, prefix, limit, starts_with) == expected

    @rule(prefix=PREFIXES, after=KEYS, starts_with=st.binary(max_size=1))
    def scan_after_any_key(self, prefix: int, after: bytes, starts_with: bytes) -> None:
        expected = [
            key
            for of, key in sorted(self.plain)
            if of == prefix and key > after and key.startswith(starts_with)
        ]
        page, cursor = self.table.scan(prefix, after=after, starts_with=starts_with)
        assert [key for key, _ in page] == expected and cursor is None

    @rule(prefix=PREFIXES, key=KEYS)
    def get(self, prefix: int, key: bytes) -> None:
        assert self.table.get(prefix, key) == self.plain.get((prefix, key))
        assert self.table.value_of(full(prefix, key)) == self.plain.get((prefix, key))

    @invariant()
    def counts(self) -> None:
        assert len(self.table) == len(self.plain)
        sizes = (2 + len(key) + len(value) for (_, key), value in self.plain.items())
        assert self.table.bytes_used == sum(sizes) + len(self.plain) * ENTRY_OVERHEAD_BYTES


TestEntries = Entries.TestCase
TestEntries.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_frozen_entries_stand_still_while_blocks_are_split_and_emptied() -> None:
    rng = random.Random(3)
    table, plain = EntryTable(4), {}
    for _ in range(3000):
        key = rng.randbytes(3)
        table.put(1, key, key)
        plain[full(1, key)] = key
    frozen, found = iter(table.freeze()), []
    with pytest.raises(InvariantViolation, match="once at a time"):
        table.freeze()
    live = sorted(plain)
    while part := list(islice(frozen, 500)):
        found += part
        for key in rng.sample(live, 300):
            table.delete(1, key[2:])
        for _ in range(600):
            table.put(1, rng.randbytes(3), b"new")
        table.put(1, live[-1][2:], b"")
    assert found == sorted(plain.items())
    table.thaw()
    assert dict(table.freeze())[live[-1]] == b""


def test_frozen_value_is_the_one_of_its_moment_however_often_it_changes() -> None:
    table = EntryTable(DEPTH)
    for key in (b"a", b"b"):
        table.put(1, key, b"then")
    table.put(1, b"e", b"")
    frozen = table.freeze()
    table.put(1, b"a", b"later")
    table.put(1, b"a", b"latest")
    table.delete(1, b"b")
    table.put(1, b"b", b"again")
    table.delete(1, b"b")
    table.put(1, b"c", b"new")
    table.delete(1, b"e")
    then = {full(1, b"a"): b"then", full(1, b"b"): b"then", full(1, b"e"): b""}
    assert list(frozen) == list(then.items())


def test_thousands_of_keys_stay_in_order() -> None:
    """Enough for the index to split its blocks and to lose whole ones."""
    rng = random.Random(1)
    table, kept = EntryTable(8), set()
    for _ in range(6000):
        key = rng.randbytes(2)
        table.put(9, key, key)
        kept.add(key)
    assert [key for key, _ in scan_all(table, 9, 700)] == sorted(kept)
    for key in sorted(kept)[500:4000]:
        assert table.delete(9, key)
        kept.remove(key)
    assert [key for key, _ in scan_all(table, 9, 700)] == sorted(kept)
    for key in rng.sample(sorted(kept), len(kept)):
        assert table.delete(9, key)
    assert scan_all(table, 9, 700) == []
    table.put(9, b"again", b"")
    assert table.scan(9) == ([(b"again", b"")], None)


def test_nothing_of_removed_entries_stays() -> None:
    table = EntryTable(8)
    for i in range(3000):
        table.put(1, i.to_bytes(2, "big"), bytes(i % 100))
    assert max(map(len, table._index._blocks)) <= 1024 and len(table._index._blocks) > 2
    for i in range(3000):
        table.delete(1, i.to_bytes(2, "big"))
    table.drain_dirty()
    index = table._index
    held = table._values, table._digests, table._buckets, table._dirty, index._blocks, index._floors
    assert [len(part) for part in held] == [0] * 6
    assert table.bytes_used == 0


def test_value_that_becomes_short_or_long_again_is_encoded_as_what_it_is() -> None:
    table, bucket = EntryTable(8), bucket_of(ENTRIES, 8, full(1, b"k"))
    for value in (bytes(65), bytes(64), b"", bytes(66), b"x"):
        table.put(1, b"k", value)
        octets, _ = table.bucket_entries(np.array([bucket], np.uint32))
        assert octets == entry(ENTRIES, full(1, b"k"), value)
    table.put(1, b"k", bytes(65))
    table.delete(1, b"k")
    table.put(1, b"k", b"x")
    assert table.bucket_entries(np.array([bucket], np.uint32))[0] == entry(ENTRIES, full(1, b"k"), b"x")


def test_cursor_that_equals_the_beginning_is_passed() -> None:
    table = EntryTable(DEPTH)
    for key in (b"", b"a", b"ab", b"b"):
        table.put(1, key, b"")
    assert table.scan(1, after=b"")[0] == [(b"a", b""), (b"ab", b""), (b"b", b"")]
    assert table.scan(1, starts_with=b"a", after=b"a") == ([(b"ab", b"")], None)
    assert table.scan(1, starts_with=b"a", after=b"Z") == ([(b"a", b""), (b"ab", b"")], None)


def test_a_scan_stays_within_its_module() -> None:
    table = EntryTable(DEPTH)
    for prefix in (6, 7, 8, 0x0700):
        table.put(prefix, b"", prefix.to_bytes(2, "big"))
        table.put(prefix, b"\xff" * 128, b"last")
    assert table.scan(7) == ([(b"", b"\0\x07"), (b"\xff" * 128, b"last")], None)
    assert table.scan(7, after=b"\xff" * 128) == ([], None)
    assert table.scan(9) == ([], None)


def test_setting_the_same_value_makes_nothing_dirty() -> None:
    table = EntryTable(DEPTH)
    table.put(1, b"k", b"v")
    assert table.drain_dirty().tolist() == [bucket_of(ENTRIES, DEPTH, full(1, b"k"))]
    table.put(1, b"k", b"v")
    assert not table.delete(1, b"other")
    assert table.drain_dirty().tolist() == []
    table.put(1, b"k", b"w")
    table.delete(1, b"k")
    assert table.drain_dirty().tolist() == [bucket_of(ENTRIES, DEPTH, full(1, b"k"))]


def test_values_are_copies() -> None:
    table, value = EntryTable(DEPTH), bytearray(b"abc")
    table.put(1, b"k", value)
    value[0] = 0
    assert table.get(1, b"k") == b"abc"


# Bounds


def test_key_size_is_bounded() -> None:
    table = EntryTable(DEPTH)
    for size in (127, 128):
        table.put(1, bytes(size), b"v")
    for call in (table.get, table.delete):
        assert refusal(call, 1, bytes(129)) == EntryRefusal.KEY_SIZE
    assert refusal(table.put, 1, bytes(129), b"v") == EntryRefusal.KEY_SIZE
    assert len(table) == 2


def test_value_size_is_bounded() -> None:
    table = EntryTable(DEPTH)
    for size in (65535, 65536):
        table.put(1, b"k", bytes(size))
    assert refusal(table.put, 1, b"k", bytes(65537)) == EntryRefusal.VALUE_SIZE
    assert len(table.get(1, b"k") or b"") == 65536


@pytest.mark.parametrize("prefix", [-1, 65536])
def test_prefix_beyond_16_bits_is_our_bug(prefix: int) -> None:
    with pytest.raises(ShapeError, match="prefix"):
        EntryTable(DEPTH).put(prefix, b"k", b"v")


@pytest.mark.parametrize("depth", [0, 25])
def test_depth_of_no_tree_is_our_bug(depth: int) -> None:
    with pytest.raises(ShapeError, match="depth"):
        EntryTable(depth)


@pytest.mark.parametrize("limit", [-1, 0, SCAN_MAX + 1])
def test_page_size_is_bounded(limit: int) -> None:
    with pytest.raises(ShapeError, match="limit"):
        EntryTable(DEPTH).scan(1, limit=limit)


def test_page_of_just_all_entries_has_no_cursor() -> None:
    table = EntryTable(8)
    for i in range(SCAN_MAX):
        table.put(1, i.to_bytes(2, "big"), b"")
    page, cursor = table.scan(1)
    assert (len(page), cursor) == (SCAN_MAX, None)
    table.put(1, SCAN_MAX.to_bytes(2, "big"), b"")
    page, cursor = table.scan(1)
    assert (len(page), cursor) == (SCAN_MAX, (SCAN_MAX - 1).to_bytes(2, "big"))


def test_full_table_refuses_and_stays_as_it_was() -> None:
    room = 2 * (ENTRY_OVERHEAD_BYTES + 3) + 10
    table = EntryTable(DEPTH, bytes_max=room)
    table.put(1, b"a", b"12345")
    table.put(1, b"b", b"1234")
    assert table.bytes_used == room - 1
    table.put(1, b"b", b"12345")
    assert table.bytes_used == room
    table.drain_dirty()
    for key, value in ((b"b", b"123456"), (b"c", b"")):
        assert refusal(table.put, 1, key, value) == EntryRefusal.TABLE_FULL
    assert (table.get(1, b"b"), table.get(1, b"c"), len(table)) == (b"12345", None, 2)
    assert table.drain_dirty().tolist() == [] and table.bytes_used == room
    table.delete(1, b"a")
    table.put(1, b"c", b"12345")
    assert table.bytes_used == room


def test_nothing_depends_on_the_hash_seed() -> None:
    code = (
        "from cherrydag.execution.entries import EntryTable\n"
        "table = EntryTable(12)\n"
        "for i in range(500): table.put(i % 3, str(i * 7919).encode(), bytes(i % 70))\n"
        "dirty = table.drain_dirty()\n"
        "print(dirty.tolist(), table.bucket_entries(dirty)[0].hex(), table.scan(1))"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(shown) == 1
