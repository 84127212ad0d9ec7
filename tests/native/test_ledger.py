"""The native account table: bounds, growth, refused memory, and that neither seed nor CPU shows."""

import ctypes
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from compiled import compile_shared
from reference.ledger_reference import RECORD as HEAD
from reference.ledger_reference import ReferenceLedger

from cherrydag._native import digest, ledger
from cherrydag.address import ADDRESS_KEY, addresses_of
from cherrydag.errors import InvariantViolation, Overloaded, ShapeError
from cherrydag.execution.accounts import LINE, Accounts, Line, Lines, Status
from cherrydag.params import VALID_FOREVER
from cherrydag.transaction import RECORD, Records, build_transfers

KEY, SEED, NOW_S = bytes(range(32)), bytes(16), 1000
NAMES = [i.to_bytes(20, "big") for i in range(1, 200)]


@pytest.fixture
def levels() -> Iterator[list[int]]:
    """Levels of the hashes, portable first; the best one is in force again afterwards."""
    yield list(range(digest.isa_best() + 1))
    ledger.isa_use(digest.isa_best())


def table(lines_max: int = 1000, depth: int = 4, seed: bytes = SEED) -> Accounts:
    return Accounts(KEY, seed, lines_max=lines_max, depth=depth)


def entries(accounts: Accounts, depth: int = 4) -> bytes:
    data, offsets = accounts.bucket_entries(np.arange(1 << depth, dtype=np.uint32))
    return data + offsets.tobytes()


def random_records(rng: random.Random, n: int, accounts: int = 40) -> Records:
    """Transfers among a few accounts: repeated senders, two assets, a nonce or amount now and then wrong."""
    used = [0] * accounts
    made = []
    for _ in range(n):
        sender, recipient = rng.randrange(accounts), rng.randrange(accounts * 2)
        nonce = used[sender] + rng.choice([0, 0, 0, 0, 1, 70])
        used[sender] += 1
        amount = rng.choice([1, 5, 100, 10**6])
        head = (1, 1, 0, rng.choice([0, 0, 5]), nonce, amount, 0, 1, VALID_FOREVER, 0)
        to = bytes(addresses_of(public_key(recipient))[0])
        made.append(HEAD.pack(*head, to, bytes(12), public_key(sender), bytes(64)))
    return np.frombuffer(b"".join(made), RECORD)


def public_key(i: int) -> bytes:
    return i.to_bytes(32, "little")


def funded(accounts: Accounts | ReferenceLedger, count: int = 40) -> None:
    for address in addresses_of(b"".join(map(public_key, range(count)))):
        for asset in (0, 5):
            if isinstance(accounts, Accounts):
                accounts.put(bytes(address), Line(1000), asset)
            else:
                accounts.put(bytes(address), asset, 1000, 0, 0, 0)


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 97, 200])
@pytest.mark.parametrize("known", [False, True])
def test_every_batch_size_agrees_with_the_reference(n: int, known: bool) -> None:
    records = random_records(random.Random(n), n)
    accounts, reference = table(), ReferenceLedger(KEY, ADDRESS_KEY, 4)
    funded(accounts)
    funded(reference)
    statuses = np.zeros(n, np.uint8)
    senders = addresses_of(np.ascontiguousarray(records["sender"])) if known and n else None
    if senders is not None:
        senders = np.ascontiguousarray(senders)
    assert accounts.apply(records, statuses, NOW_S, senders=senders) == n
    assert statuses.tolist() == reference.apply(records.tobytes(), NOW_S)
    data, _ = accounts.bucket_entries(np.arange(16, dtype=np.uint32))
    assert data == b"".join(reference.entries())


@pytest.mark.parametrize("stop", [0, 1, 31, 32, 33, 63, 64, 99])
def test_batch_stops_at_a_foreign_record_wherever_it_is(stop: int) -> None:
    records = random_records(random.Random(stop), 100).copy()
    records["kind"][stop] = 2
    accounts = table()
    statuses = np.full(100, 99, np.uint8)
    assert accounts.apply(records, statuses, NOW_S) == stop
    assert (statuses[stop:] == 99).all() and not (statuses[:stop] == 99).any()


def test_instruction_set_and_seed_do_not_show(levels: list[int]) -> None:
    records = random_records(random.Random(1), 300)
    shown = set()
    for level in levels:
        ledger.isa_use(level)
        for seed in (bytes(16), b"\xff" * 16):
            accounts = table(seed=seed)
            funded(accounts)
            statuses = np.zeros(300, np.uint8)
            accounts.apply(records, statuses, NOW_S)
            exported = b"".join(lines.tobytes() for lines in accounts.export_all())
            shown.add((statuses.tobytes(), entries(accounts), accounts.drain_dirty().tobytes(), exported))
    assert len(shown) == 1
    with pytest.raises(ShapeError):
        ledger.isa_use(99)


def test_table_agrees_with_a_dict_while_it_grows_and_shrinks() -> None:
    """10,000 lines in shards of 2,048 and segments of 4,096, then most of them gone, then back again."""
    rng = random.Random(5)
    accounts, expected = table(lines_max=1 << 20, depth=6), {}
    for growing in (True, False, True):
        for _ in range(10_000):
            name = (rng.randrange(4000).to_bytes(20, "little"), rng.randrange(3))
            if rng.random() < (0.9 if growing else 0.1):
                expected[name] = (rng.randrange(1, 2**128), 0, 0, 0)
            else:
                expected.pop(name, None)
            accounts.put(name[0], Line(*expected.get(name, (0,))), name[1])
        assert len(accounts) == len(expected)
        assert accounts._table.is_sound()
        assert all(accounts.get(*name) == line for name, line in expected.items())
        seen = [row for lines in accounts.export_all(999) for row in lines]
        names = {(row["address"].tobytes(), int(row["asset"])) for row in seen}
        assert len(seen) == len(names) and names == expected.keys()
    assert accounts.audit(1) == sum(line[0] for name, line in expected.items() if name[1] == 1)


def test_sum_of_many_large_balances_is_exact() -> None:
    accounts = table()
    for name in NAMES[:5]:
        accounts.put(name, Line(2**128 - 1))
    assert accounts.audit() == 5 * (2**128 - 1)


def test_places_of_removed_lines_are_used_again() -> None:
    accounts = table(lines_max=3)
    accounts.put(NAMES[0], Line(2))
    for name in NAMES[1:]:
        accounts.put(name, Line(1))
        accounts.put(name, Line(1), 7)
        accounts.put(name, Line(0))
        accounts.put(name, Line(0), 7)
    assert len(accounts) == 1
    assert accounts._table.is_sound()


def test_full_table_refuses_new_lines_alone() -> None:
    accounts = table(lines_max=3)
    for name in NAMES[:3]:
        accounts.put(name, Line(1))
    with pytest.raises(Overloaded, match="full"):
        accounts.put(NAMES[3], Line(1))
    accounts.put(NAMES[0], Line(5))
    accounts.put(NAMES[3], Line(0))
    assert (len(accounts), accounts.get(NAMES[0]), accounts.get(NAMES[3])) == (3, Line(5), None)


def test_transfer_into_a_full_table_has_not_happened() -> None:
    sender = public_key(1)
    address = bytes(addresses_of(sender)[0])
    records = build_transfers(
        senders=sender, recipients=b"".join(NAMES[:3]) + NAMES[0], amounts=10, nonces=range(4)
    )
    accounts = table(lines_max=3)
    accounts.put(address, Line(1000))
    statuses = np.zeros(4, np.uint8)
    with pytest.raises(Overloaded, match="row 2"):
        accounts.apply(records, statuses, NOW_S)
    assert statuses.tolist() == [Status.APPLIED, Status.APPLIED, Status.NONE, Status.NONE]
    assert accounts.get(address) == Line(978, 2)
    assert accounts.fees == 2
    assert accounts.apply(records, statuses, NOW_S, start=3) == 1
    assert accounts._table.is_sound()


@pytest.mark.parametrize("lines_max", [1, 2, 3])
def test_new_account_that_pays_no_fee_gives_its_line_back_if_there_is_no_other(lines_max: int) -> None:
    sender = public_key(1)
    address = bytes(addresses_of(sender)[0])
    accounts = table(lines_max=lines_max)
    accounts.put(address, Line(9), 5)
    records = build_transfers(senders=sender, recipients=NAMES[0], amounts=4, nonces=0, asset=5, fee=0)
    statuses = np.zeros(1, np.uint8)
    if lines_max < 3:
        with pytest.raises(Overloaded):
            accounts.apply(records, statuses, NOW_S)
        assert (accounts.get(address), accounts.get(address, 5), len(accounts)) == (None, Line(9), 1)
    else:
        accounts.apply(records, statuses, NOW_S)
        assert (accounts.get(address), accounts.get(address, 5)) == (Line(0, 1), Line(5))
    assert accounts._table.is_sound()


def test_operation_of_a_new_account_that_pays_no_fee_needs_a_line() -> None:
    operation = build_transfers(senders=public_key(1), recipients=NAMES[0], amounts=1, nonces=3, fee=0)
    accounts = table(lines_max=1)
    assert accounts.begin_operation(operation, NOW_S, sender=NAMES[0]) == Status.APPLIED
    assert accounts.get(NAMES[0]) == Line(0, 0, 8)
    with pytest.raises(Overloaded):
        accounts.begin_operation(operation, NOW_S)
    assert len(accounts) == 1


@pytest.mark.parametrize("field, value", [
    ("lines_max", 0), ("lines_max", ledger.LINES_MAX + 1), ("depth", 0), ("depth", ledger.DEPTH_MAX + 1),
])  # fmt: skip
def test_limits_beyond_their_bounds_are_refused(field: str, value: int) -> None:
    with pytest.raises(ShapeError, match=field):
        table(**{field: value})


@pytest.mark.parametrize("field, value", [("lines_max", 1), ("depth", 1), ("depth", ledger.DEPTH_MAX)])
def test_limits_at_their_bounds_are_fine(field: str, value: int) -> None:
    accounts = table(**{field: value})
    accounts.put(NAMES[0], Line(1))
    assert len(accounts.bucket_entries(accounts.drain_dirty())[0]) == 62


def test_wrong_lengths_are_refused() -> None:
    accounts = table()
    records, statuses = random_records(random.Random(2), 3), np.zeros(3, np.uint8)
    wrong = [
        lambda: accounts.apply(records, statuses[:2], NOW_S),
        lambda: accounts.apply(records.view("u1")[:-1], statuses, NOW_S),
        lambda: accounts.apply(records, statuses, NOW_S, start=4),
        lambda: accounts.apply(records, statuses, NOW_S, senders=np.zeros(59, np.uint8)),
        lambda: accounts.apply(records, statuses, NOW_S, senders=np.zeros(40, np.uint8)),
        lambda: accounts.apply(records, statuses.tobytes(), NOW_S),
        lambda: accounts.begin_operation(records, NOW_S),
        lambda: accounts.begin_operation(records[:1], NOW_S, sender=bytes(19)),
        lambda: accounts.get(bytes(21)),
        lambda: accounts.put(bytes(19), Line(1)),
        lambda: accounts.set_fees(2**128),
        lambda: accounts.set_fees(-1),
        lambda: accounts.bucket_entries(np.array([15, 16], np.uint32)),
        lambda: accounts._table.put(bytes(65), False),
        lambda: accounts._table.put(memoryview(bytes(128))[1:65], False),
        lambda: accounts._table.export(0, bytes(64)),
        lambda: Accounts(bytes(31), SEED),
        lambda: Accounts(KEY, bytes(17)),
    ]
    for call in wrong:
        with pytest.raises(ShapeError):
            call()
    assert accounts.apply(records, statuses, NOW_S, start=3) == 0
    assert len(accounts) == 0


def test_buckets_may_be_asked_for_in_any_order_and_twice() -> None:
    accounts = table(depth=2)
    for name in NAMES:
        accounts.put(name, Line(1))
    asked = np.array([3, 0, 3, 1, 2], np.uint32)
    data, offsets = accounts.bucket_entries(asked)
    parts = [data[a:b] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
    single = [accounts.bucket_entries(asked[i : i + 1])[0] for i in range(5)]
    assert parts == single
    assert len(data) == 62 * (len(NAMES) + len(parts[0]) // 62)


def test_memory_is_64_bytes_a_line_and_an_index_of_at_most_16_when_pages_are_full() -> None:
    accounts = Accounts(KEY, SEED, lines_max=1 << 16, depth=8)
    empty = accounts.memory_bytes
    lines = np.zeros(64 * 1024, LINE)  # of 64 bytes: two pages of 2 MiB
    rng = np.random.default_rng(1)
    lines["address"] = rng.integers(0, 256, (len(lines), 20), dtype=np.uint8)
    lines["balance_lo"] = 1
    accounts.load(lines)
    assert 74.6 <= (accounts.memory_bytes - empty) / len(lines) <= 80.1


# Snapshots


def test_snapshot_stands_still_while_thousands_of_lines_come_change_and_go() -> None:
    """20,000 lines in five segments; what changes before it is read fills more than one block."""
    rng = np.random.default_rng(7)
    accounts = table(lines_max=1 << 20, depth=6)
    lines = many_lines(20_000)
    accounts.load(lines)
    gone = lines[rng.choice(len(lines), 3000, replace=False)].copy()
    gone["balance_lo"] = 0
    accounts.put_lines(gone)
    before = exported(accounts)
    accounts.begin_snapshot()
    found: list[bytes] = []
    more = many_lines(30_000)
    while len(part := accounts.snapshot_lines(1500)):
        found += [row.tobytes() for row in part]
        changed = more[rng.choice(len(more), 4000, replace=False)].copy()
        changed["balance_lo"] = rng.integers(0, 3, len(changed))
        accounts.put_lines(changed)
    accounts.end_snapshot()
    assert sorted(found) == before != exported(accounts)
    assert accounts._table.is_sound()


@pytest.mark.parametrize("count", [1, 63, 64, 65, 127, 128, 4095, 4096, 4097])
def test_snapshot_of_any_number_of_lines_is_whole(count: int) -> None:
    """At the words of a bitmap, the lines of a saved block and those of a segment."""
    for changes in (False, True):
        accounts = table(lines_max=1 << 16)
        accounts.load(many_lines(count))
        before = exported(accounts)
        accounts.begin_snapshot()
        if changes:
            lines = many_lines(count + 1)
            lines["balance_lo"] += 5
            accounts.put_lines(lines)
        parts = []
        while len(part := accounts.snapshot_lines(50)):
            parts += [row.tobytes() for row in part]
        assert sorted(parts) == before
        assert len(accounts.snapshot_lines(1)) == 0


def test_snapshot_takes_at_most_what_the_lines_do_and_gives_it_back() -> None:
    accounts = table(lines_max=1 << 16)
    lines = many_lines(40_950)
    accounts.load(lines)
    rest = accounts.memory_bytes
    accounts.begin_snapshot()
    assert accounts.memory_bytes - rest == 8 * (40_950 // 64 + 1)
    lines["balance_lo"] += 1
    accounts.put_lines(lines)
    accounts.put_lines(lines)
    assert accounts.memory_bytes - rest <= 40_950 * 64 * 1.01 + 2 * 2**18
    while len(accounts.snapshot_lines()):
        pass
    assert accounts.memory_bytes - rest == 8 * (40_950 // 64 + 1)
    accounts.end_snapshot()
    assert accounts.memory_bytes == rest


def test_snapshot_out_of_turn_stops_the_node() -> None:
    accounts = table()
    accounts.end_snapshot()
    with pytest.raises(InvariantViolation, match="before it ends"):
        accounts.snapshot_lines()
    accounts.begin_snapshot()
    with pytest.raises(InvariantViolation, match="one snapshot at a time"):
        accounts.begin_snapshot()
    assert len(accounts.snapshot_lines()) == 0
    accounts.end_snapshot()
    accounts.end_snapshot()
    with pytest.raises(InvariantViolation):
        accounts.snapshot_lines()


def many_lines(count: int) -> Lines:
    lines = np.zeros(count, LINE)
    lines["address"][:, :4] = np.arange(count, dtype="<u4").view("u1").reshape(-1, 4)
    lines["balance_lo"] = 1
    return lines


def exported(accounts: Accounts) -> list[bytes]:
    return sorted(row.tobytes() for lines in accounts.export_all() for row in lines)


# When memory is refused


class Config(ctypes.Structure):
    _fields_ = (
        ("lines_max", ctypes.c_uint32),
        ("depth", ctypes.c_uint32),
        ("keys", ctypes.c_uint8 * 80),
    )


class Stats(ctypes.Structure):
    _fields_ = (
        ("lines", ctypes.c_uint32),
        ("dirty", ctypes.c_uint32),
        ("fees", ctypes.c_uint64 * 2),
        ("bytes", ctypes.c_uint64),
    )


OK, MEMORY = 0, -2


class Face:
    """A table whose allocator fails when it is told to."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library, self.table = library, ctypes.c_void_p()

    def open(self, lines_max: int = 1 << 16) -> int:
        config = Config(lines_max, 6)
        return self.library.cd_ledger_open(ctypes.byref(config), ctypes.byref(self.table))

    def put(self, lines: np.ndarray) -> tuple[int, int]:
        done = ctypes.c_size_t()
        pointer = ctypes.c_void_p(lines.ctypes.data)
        status = self.library.cd_ledger_put(self.table, pointer, len(lines), 0, ctypes.byref(done))
        return status, done.value

    def apply(self, records: Records) -> tuple[int, int]:
        handled, statuses = ctypes.c_size_t(), ctypes.create_string_buffer(len(records))
        pointer = ctypes.c_void_p(records.ctypes.data)
        status = self.library.cd_ledger_apply(
            self.table, pointer, None, len(records), NOW_S, statuses, ctypes.byref(handled)
        )
        assert statuses.raw == b"\x01" * handled.value + bytes(len(records) - handled.value)
        return status, handled.value

    def begin_snapshot(self) -> int:
        return self.library.cd_ledger_snapshot_begin(self.table)

    def snapshot(self) -> list[bytes]:
        """All that is left of the snapshot, which ends."""
        lines, count = np.empty(1 << 14, LINE), ctypes.c_size_t()
        pointer = ctypes.c_void_p(lines.ctypes.data)
        room = ctypes.c_size_t(len(lines))
        read = self.library.cd_ledger_snapshot_read
        assert read(self.table, pointer, room, ctypes.byref(count)) == OK
        assert self.library.cd_ledger_snapshot_end(self.table) == OK
        return sorted(row.tobytes() for row in lines[: count.value])

    def stats(self) -> Stats:
        stats = Stats()
        assert self.library.cd_ledger_get_stats(self.table, ctypes.byref(stats)) == OK
        return stats

    def is_sound(self) -> bool:
        return bool(self.library.cd_ledger_is_sound(self.table))

    def free(self) -> None:
        self.library.cd_ledger_free(self.table)


@pytest.fixture(scope="module")
def library() -> Iterator[ctypes.CDLL]:
    built = compile_shared(Path(__file__).with_name("ledger_face.c"), "ledger_face", ["-DCD_VERIFY"])
    yield built
    built.face_allow(ctypes.c_long(-1))


def face_lines(count: int) -> np.ndarray:
    lines = np.zeros(count, LINE)
    lines["address"][:, :4] = np.arange(count, dtype="<u4").view("u1").reshape(-1, 4)
    lines["balance_lo"] = 10**6
    return lines


def test_open_without_memory_leaves_nothing_behind(library: ctypes.CDLL) -> None:
    refused = 0
    for allowance in range(10):
        face = Face(library)
        library.face_allow(ctypes.c_long(allowance))
        status = face.open()
        if status == OK:
            face.free()
            break
        assert status == MEMORY and not face.table
        refused += 1
    assert refused == 6


def test_refused_memory_loses_no_line_and_no_coin(library: ctypes.CDLL) -> None:
    """Each allocation of a fill is refused once; the fill goes on where it stopped."""
    lines, done, refusals = face_lines(9000), 0, 0
    face = Face(library)
    library.face_allow(ctypes.c_long(-1))
    assert face.open() == OK
    while done < len(lines):
        library.face_allow(ctypes.c_long(0 if refusals % 2 else 1))
        status, more = face.put(lines[done:])
        done += more
        assert face.stats().lines == done
        if status == OK:
            break
        assert status == MEMORY
        assert refusals % 50 or face.is_sound()
        refusals += 1
        library.face_allow(ctypes.c_long(2))
        status, more = face.put(lines[done : done + 1])
        assert (status, more) == (OK, 1)
        done += more
    assert refusals > 100 and face.is_sound()
    face.free()


def test_transfers_without_memory_stop_before_the_first_that_needs_some(library: ctypes.CDLL) -> None:
    face = Face(library)
    library.face_allow(ctypes.c_long(-1))
    assert face.open() == OK
    lines = face_lines(1)
    assert face.put(lines) == (OK, 1)
    recipients = np.zeros((6000, 20), np.uint8)
    recipients[:, 16:] = np.arange(1, 6001, dtype="<u4").view("u1").reshape(-1, 4)
    records = build_transfers(senders=bytes(32), recipients=recipients, amounts=1, nonces=np.arange(6000))
    handled, refusals = 0, 0
    while handled < len(records):
        library.face_allow(ctypes.c_long(refusals % 3))
        status, more = face.apply(records[handled:])
        handled += more
        stats = face.stats()
        assert (stats.lines, stats.fees[0]) == (handled + 1, handled)
        assert status == MEMORY or handled == len(records)
        refusals += 1
    assert refusals > 50 and face.is_sound()
    face.free()


def test_change_that_a_snapshot_has_no_memory_for_has_not_happened(library: ctypes.CDLL) -> None:
    """Each block of saved lines is refused once; the lines and the snapshot lose nothing by it."""
    face = Face(library)
    library.face_allow(ctypes.c_long(-1))
    assert face.open() == OK
    lines = face_lines(9000)
    assert face.put(lines) == (OK, 9000)
    library.face_allow(ctypes.c_long(0))
    assert face.begin_snapshot() == MEMORY
    library.face_allow(ctypes.c_long(1))
    assert face.begin_snapshot() == OK
    changed, done, refusals = lines.copy(), 0, 0
    changed["balance_lo"][::2] = 0
    changed["balance_lo"][1::2] = 7
    while done < len(lines):
        library.face_allow(ctypes.c_long(0))
        status, more = face.put(changed[done:])
        done += more
        assert face.stats().lines == 9000 - (done + 1) // 2
        if status == MEMORY:
            refusals += 1
            library.face_allow(ctypes.c_long(1))
            assert face.put(changed[done : done + 1]) == (OK, 1)
            done += 1
    assert refusals == 3 and face.is_sound()
    assert face.snapshot() == sorted(row.tobytes() for row in lines)
    face.free()


def test_transfer_that_a_snapshot_has_no_memory_for_has_not_happened(library: ctypes.CDLL) -> None:
    face = Face(library)
    library.face_allow(ctypes.c_long(-1))
    assert face.open() == OK
    lines = face_lines(1)
    assert face.put(lines) == (OK, 1)
    assert face.begin_snapshot() == OK
    records = build_transfers(senders=bytes(32), recipients=b"\1" * 20, amounts=1, nonces=np.arange(3))
    library.face_allow(ctypes.c_long(0))
    assert face.apply(records) == (MEMORY, 0)
    assert (face.stats().lines, face.stats().fees[0]) == (1, 0)
    library.face_allow(ctypes.c_long(-1))
    assert face.apply(records) == (OK, 3)
    assert face.snapshot() == [lines[0].tobytes()]
    assert face.is_sound()
    face.free()
