"""Chunks of a state: what a snapshot gives, a restore takes, and anything else is refused by name."""

from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest
from execution_rig import DEPTH, RICH, USERS, Rig, Transaction
from hypothesis import given
from hypothesis import strategies as st

from cherrydag.errors import InvariantViolation, Overloaded, ShapeError, StorageError
from cherrydag.execution import checkpoint
from cherrydag.execution.accounts import LINE, Accounts, Line
from cherrydag.execution.anchor import Anchors
from cherrydag.execution.assets import AssetKind, Assets, encode_create
from cherrydag.execution.checkpoint import (
    CHUNK_BYTES_MAX,
    CHUNK_ENTRIES,
    CHUNK_LINES,
    Chunk,
    ChunkKind,
    StateHead,
    decode_entries,
    decode_head,
    decode_lines,
    encode_head,
    pack_entries,
)
from cherrydag.execution.entries import EntryTable
from cherrydag.execution.executor import Executor
from cherrydag.execution.multisig import Multisig
from cherrydag.params import AMOUNT_MAX
from cherrydag.state_proof import KEY_BYTES_MAX, LEDGER, StateKey, verify_state_proof

MODULES = Assets(), Multisig(), Anchors()
HEAD, LINES, ENTRIES = ChunkKind


def lived() -> Rig:
    """A state with lines, holdings, entries and fees, after four commits."""
    rig = Rig(*MODULES)
    rig.do(0, AssetKind.CREATE, body=encode_create("TEA", 3))
    rig.do(0, AssetKind.MINT, asset=1, amount=5, recipient=USERS[1])
    rig.transfer(1, USERS[2], 2, asset=1)
    rig.transfer(2, USERS[3], 7)
    return rig


def empty(supply: int = 6 * RICH) -> Rig:
    rig = Rig(*MODULES, seed=bytes(range(16)), rich=())
    rig.executor.supply = supply
    return rig


def chunks_of(rig: Rig) -> list[Chunk]:
    return list(rig.executor.begin_snapshot().chunks())


def test_restored_state_has_the_root_and_goes_on_alike() -> None:
    rig, other = lived(), empty()
    snapshot = rig.executor.begin_snapshot()
    assert other.executor.restore(snapshot.chunks()) == snapshot.root == rig.executor.state_root()
    other.executor.audit()
    assert (other.lines(), other.entry_bytes()) == (rig.lines(), rig.entry_bytes())
    more = Transaction(0, AssetKind.MINT, 2, asset=1, amount=5, recipient=USERS[3])
    assert [r.commit([more]).statuses[0].tolist() for r in (rig, other)] == [[1], [1]]
    assert rig.executor.state_root() == other.executor.state_root()
    assert rig.executor.commit_index == other.executor.commit_index == 5
    assert snapshot.commit_index == snapshot.head.commit_index == 4


def test_snapshot_is_of_its_moment_whatever_is_executed_between_its_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "CHUNK_LINES", 2)
    monkeypatch.setattr(checkpoint, "CHUNK_ENTRIES", 1)
    rig, other, then = lived(), empty(), lived()
    snapshot = rig.executor.begin_snapshot()
    found = []
    for number, chunk in enumerate(snapshot.chunks()):
        found.append(chunk)
        rig.transfer(3, USERS[number % 6], 1)
        rig.do(1, AssetKind.CREATE, body=encode_create(f"T{number}", 0))
        rig.do(0, AssetKind.MINT, asset=1, amount=1, recipient=USERS[number % 3])
    assert len(found) > 6 and [kind for kind, _ in found] == sorted(kind for kind, _ in found)
    root = other.executor.restore(found)
    assert root == snapshot.root == then.executor.state_root() != rig.executor.state_root()
    assert (other.lines(), other.entry_bytes()) == (then.lines(), then.entry_bytes())
    assert other.accounts.fees == then.accounts.fees
    other.executor.audit()
    rig.executor.audit()


def test_state_has_one_snapshot_at_a_time_until_it_is_closed() -> None:
    rig = lived()
    first = rig.executor.begin_snapshot()
    with pytest.raises(InvariantViolation, match="one snapshot"):
        rig.executor.begin_snapshot()
    first.close()
    second = rig.executor.begin_snapshot()
    first.close()
    with pytest.raises(InvariantViolation, match="before it is closed"):
        list(first.chunks())
    reading = second.chunks()
    assert [next(reading).kind, next(reading).kind] == [HEAD, LINES]
    second.close()
    with pytest.raises(InvariantViolation, match="before it is closed"):
        next(reading)
    assert chunks_of(rig)
    assert chunks_of(rig)


def test_state_goes_into_an_empty_one_alone() -> None:
    chunks = chunks_of(lived())
    for rig in (Rig(*MODULES, rich=[0]), empty(), empty()):
        rig.executor.supply = 6 * RICH
        if not len(rig.accounts):
            rig.entries.put(1, b"k", b"v")
        with pytest.raises(ShapeError, match="empty"):
            rig.executor.restore(chunks)
    charged = empty()
    charged.accounts.set_fees(1)
    with pytest.raises(ShapeError, match="empty"):
        charged.executor.restore(chunks)


def test_root_covers_the_pot_the_supply_and_the_commit() -> None:
    rig = lived()
    root = rig.executor.state_root()
    for name, value, size in (("fees", 4, 16), ("supply", 6 * RICH, 16), ("commit_index", 4, 8)):
        key = StateKey(LEDGER, name.encode())
        proof = rig.executor.commitment.prove(key)
        assert verify_state_proof(proof, key, root) == value.to_bytes(size, "little")
    absent = StateKey(LEDGER, b"other")
    assert verify_state_proof(rig.executor.commitment.prove(absent), absent, root) is None
    rig.commit([])
    assert verify_state_proof(rig.executor.commitment.prove(key), key, root) is not None
    assert rig.executor.state_root() != root


# What is no state


def refused(chunks: list[Chunk], match: str) -> None:
    with pytest.raises(StorageError, match=match):
        empty().executor.restore(chunks)


def altered(chunks: list[Chunk], place: int, change: Callable[[bytes], bytes]) -> list[Chunk]:
    kind, payload = chunks[place]
    return [*chunks[:place], Chunk(kind, change(payload)), *chunks[place + 1 :]]


@pytest.fixture(scope="module")
def good() -> list[Chunk]:
    return chunks_of(lived())


@pytest.mark.parametrize("change, match", [
    ({"commit_index": 5}, "root"),
    ({"root": bytes(32)}, "root"),
    ({"fees": 5}, "supply"),
    ({"supply": 6 * RICH + 1}, "supply"),
    ({"fees": 5, "supply": 6 * RICH + 1}, "supply"),
    ({"lines": 9}, "expected 9 lines"),
    ({"entries": 1}, "and 1 entries"),
])  # fmt: skip
def test_head_that_lies_is_found_out(good: list[Chunk], change: dict[str, object], match: str) -> None:
    head = decode_head(good[0].payload)
    assert head.fees == 4 and head.lines == 8 and head.entries > 1
    refused([Chunk(HEAD, encode_head(head._replace(**change))), *good[1:]], match)  # type: ignore[arg-type]


def test_pot_moved_into_a_balance_is_found_out(good: list[Chunk]) -> None:
    """The supply adds up; the root alone knows."""
    head = decode_head(good[0].payload)
    lines = decode_lines(good[1].payload).copy()
    lines["balance_lo"][0] += 1
    poorer = Chunk(HEAD, encode_head(head._replace(fees=head.fees - 1)))
    refused([poorer, Chunk(LINES, lines.tobytes()), *good[2:]], "root")


def test_chunks_out_of_order_missing_or_twice_are_refused(good: list[Chunk]) -> None:
    assert [kind for kind, _ in good] == [HEAD, LINES, ENTRIES]
    head, lines, entries = good
    refused([], "no chunk")
    refused([lines, entries], "chunk 0 of kind 2: the head comes first")
    refused([head, head, lines, entries], "chunk 1 of kind 1: no such chunk")
    refused([head, entries, lines], "chunk 2 of kind 2: no such chunk")
    refused([head, entries], "expected 8 lines")
    refused([head, lines], "and 0$")
    refused([head, lines, lines, entries], "chunk 2 of kind 2: lines: row 0")
    refused([head, lines, entries, entries], "chunk 3 of kind 3: entries do not ascend")
    for kind in (0, 4, 255):
        refused([head, lines, Chunk(kind, b"x"), entries], f"chunk 2 of kind {kind}: no such chunk")


def test_lines_that_are_none_are_refused(good: list[Chunk]) -> None:
    def with_first(**fields: int) -> list[Chunk]:
        lines = decode_lines(good[1].payload).copy()
        for name, value in fields.items():
            lines[name][0] = value
        return altered(good, 1, lambda _: lines.tobytes())

    refused(altered(good, 1, lambda payload: payload[:-1]), "lines: 511 bytes")
    refused(altered(good, 1, lambda _: b""), "lines: 0 bytes")
    refused(with_first(reserved=1), "row 0 is no line")
    refused(with_first(nonce_mask=1), "row 0 is no line")
    refused(with_first(balance_lo=0, nonce_base=0), "row 0 is no line of a table, says nothing")
    refused([good[0], Chunk(LINES, bytes(CHUNK_BYTES_MAX + 64))], f"at most {CHUNK_BYTES_MAX}")


@pytest.mark.parametrize("payload, match", [
    (b"", "none"),
    (b"\1\0", "a key of 1 bytes at byte 0"),
    (bytes([KEY_BYTES_MAX + 1]) + bytes(200), f"a key of {KEY_BYTES_MAX + 1} bytes"),
    (b"\2", "end within the key at byte 0"),
    (b"\2ab\0\0\0", "end within the key at byte 0"),
    (b"\2ab\1\0\0\0", "end within the value at byte 7"),
    (b"\2ab\1\0\0\0x\0", "a key of 0 bytes at byte 8"),
    (b"\2ab\1\0\1\0" + bytes(65537), "a value of 65537 bytes"),
    (b"\2ab\0\0\0\0\2ab\0\0\0\0", "do not ascend at key 6162"),
    (b"\2ab\0\0\0\0\2aa\0\0\0\0", "do not ascend at key 6161"),
])  # fmt: skip
def test_entries_that_are_none_are_refused(good: list[Chunk], payload: bytes, match: str) -> None:
    refused(altered(good, 2, lambda _: payload), f"chunk 2 of kind 3: .*{match}")


def test_entries_beyond_the_room_for_them_are_refused(good: list[Chunk]) -> None:
    rig = empty()
    accounts = Accounts(bytes(32), bytes(16), depth=DEPTH)
    executor = Executor(accounts, EntryTable(DEPTH, 600), MODULES, supply=rig.executor.supply)
    with pytest.raises(StorageError, match="no room"):
        executor.restore(good)


def test_lines_beyond_the_node_s_limit_are_an_overload(good: list[Chunk]) -> None:
    accounts = Accounts(bytes(32), bytes(16), depth=DEPTH, lines_max=7)
    executor = Executor(accounts, EntryTable(DEPTH), MODULES, supply=6 * RICH)
    with pytest.raises(Overloaded):
        executor.restore(good)


@given(st.integers(0, 10**6), st.integers(0, 7), st.integers(0, 2))
def test_any_flipped_bit_is_refused(place: int, bit: int, which: int) -> None:
    """Of the whole state, since every byte of it is under the root or counted."""
    good = chunks_of(SMALL)
    payload = bytearray(good[which].payload)
    payload[place % len(payload)] ^= 1 << bit
    changed = altered(good, which, lambda _: bytes(payload))
    with pytest.raises(StorageError):
        empty().executor.restore(changed)


SMALL = lived()


@given(st.binary(max_size=200), st.sampled_from(ChunkKind))
def test_any_bytes_are_read_or_refused(payload: bytes, kind: ChunkKind) -> None:
    head = chunks_of(SMALL)[0]
    with pytest.raises(StorageError):
        empty().executor.restore([Chunk(kind, payload)] if kind == HEAD else [head, Chunk(kind, payload)])


# Bytes


@given(
    st.builds(
        StateHead,
        st.integers(0, 2**64 - 1),
        st.binary(min_size=32, max_size=32),
        st.integers(0, AMOUNT_MAX),
        st.integers(0, AMOUNT_MAX),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
    )
)
def test_head_is_read_as_it_was_written(head: StateHead) -> None:
    assert decode_head(encode_head(head)) == head


def test_golden_head() -> None:
    """The format is a rule: it changes with its version only."""
    head = StateHead(1, bytes(range(32)), 2, 3, 4, 5)
    spelt = [1, *(1).to_bytes(8, "little"), *range(32)]
    spelt += [*(2).to_bytes(16, "little"), *(3).to_bytes(16, "little")]
    spelt += [*(4).to_bytes(8, "little"), *(5).to_bytes(8, "little")]
    assert encode_head(head) == bytes(spelt)
    for wrong, match in ((b"\2" + bytes(88), "format 2"), (bytes(88), "89 bytes, got 88"), (bytes(90), "90")):
        with pytest.raises(StorageError, match=match):
            decode_head(wrong)


@given(
    st.dictionaries(
        st.binary(min_size=2, max_size=6), st.one_of(st.binary(max_size=3), st.just(bytes(65536)))
    )
)
def test_entries_are_read_as_they_were_written(entries: dict[bytes, bytes]) -> None:
    listed = sorted(entries.items())
    payloads = list(pack_entries(listed))
    assert list(chain.from_iterable(map(decode_entries, payloads))) == listed


@pytest.mark.parametrize("count, chunks", [
    (0, 0), (1, 1), (CHUNK_ENTRIES - 1, 1), (CHUNK_ENTRIES, 1), (CHUNK_ENTRIES + 1, 2),
])  # fmt: skip
def test_chunks_of_entries_are_bounded_in_number(count: int, chunks: int) -> None:
    assert len(list(pack_entries((i.to_bytes(4, "big"), b"") for i in range(count)))) == chunks


def test_chunks_of_entries_are_bounded_in_bytes() -> None:
    key = bytes(KEY_BYTES_MAX)
    payloads = list(pack_entries((key, bytes(65536)) for _ in range(40)))
    assert len(payloads) == 3 and max(map(len, payloads)) <= (1 << 20) + 65536 + 135 < CHUNK_BYTES_MAX


@pytest.mark.parametrize("count, sizes", [
    (CHUNK_LINES - 1, [CHUNK_LINES - 1]), (CHUNK_LINES, [CHUNK_LINES]), (CHUNK_LINES + 1, [CHUNK_LINES, 1]),
])  # fmt: skip
def test_chunks_of_lines_are_bounded(count: int, sizes: list[int]) -> None:
    rig = Rig(rich=())
    lines = np.zeros(count, LINE)
    lines["address"][:, :4] = np.arange(count, dtype="<u4").view("u1").reshape(-1, 4)
    lines["balance_lo"] = 1
    rig.accounts.load(lines)
    rig.executor.supply = count
    chunks = chunks_of(rig)
    assert [len(payload) // 64 for _, payload in chunks[1:]] == sizes
    other = empty(count)
    assert other.executor.restore(chunks) == rig.executor.state_root()
    assert other.accounts.get(bytes(20)) == Line(1)
