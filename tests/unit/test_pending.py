import pytest

from cherrydag.dag.pending import Missing, Parked, PendingTable
from cherrydag.errors import ShapeError
from cherrydag.primitives import Digest, Round


def name(i: int) -> Digest:
    return Digest(i.to_bytes(32, "big"))


def ref(i: int, round_: int) -> Missing:
    return Missing(Round(round_), name(i))


def entry(i: int, round_: int, *missing: Missing, peer: int = 0) -> Parked[str]:
    return Parked(Round(round_), name(i), peer, missing or (ref(1000 + i, round_ - 1),), f"v{i}")


def names(entries: list[Parked[str]]) -> list[str]:
    return [parked.vertex for parked in entries]


def test_a_child_is_released_when_its_last_parent_is_in() -> None:
    table: PendingTable[str] = PendingTable(10, 10, 10)
    assert table.park(entry(1, 5, ref(2, 4), ref(3, 4))) == []
    assert table.park(entry(4, 5, ref(3, 4))) == []
    assert table.missing() == [ref(2, 4), ref(3, 4)]
    assert names(table.resolve(name(3))) == ["v4"]
    assert names(table.resolve(name(2))) == ["v1"]
    assert (len(table), table.missing_count, table.missing()) == (0, 0, [])
    assert table.resolve(name(2)) == []


def test_what_is_parked_itself_is_not_fetched() -> None:
    table: PendingTable[str] = PendingTable(10, 10, 10)
    table.park(entry(1, 5, ref(2, 4)))
    table.park(entry(2, 4, ref(3, 3)))
    assert table.missing() == [ref(3, 3)]
    assert names(table.resolve(name(3))) == ["v2"]
    assert names(table.resolve(name(2))) == ["v1"]


def test_a_full_table_evicts_the_farthest_above_the_clock() -> None:
    table: PendingTable[str] = PendingTable(3, 3, 100)
    for i, round_ in enumerate([7, 9, 8]):
        assert table.park(entry(i, round_, peer=i)) == []
    assert names(table.park(entry(5, 6, peer=5))) == ["v1"]
    assert names(table.park(entry(6, 99, peer=5))) == ["v6"]
    assert len(table) == table.missing_count == 3


def test_a_peer_at_its_bound_evicts_only_its_own() -> None:
    table: PendingTable[str] = PendingTable(100, 2, 100)
    table.park(entry(1, 50, peer=1))
    for i in range(2, 4):
        assert table.park(entry(i, i, peer=2)) == []
    assert names(table.park(entry(4, 2, peer=2))) == ["v3"]
    assert name(1) in table


def sized(i: int, round_: int, size: int, peer: int = 0) -> Parked[str]:
    return entry(i, round_, peer=peer)._replace(size=size)


@pytest.mark.parametrize(("size", "lost"), [(39, []), (40, []), (41, ["v3"])])
def test_a_peer_beyond_its_bytes_evicts_its_own_farthest(size: int, lost: list[str]) -> None:
    table: PendingTable[str] = PendingTable(100, 100, 100, 1000, 100)
    table.park(sized(1, 90, 100, peer=1))
    for i in (2, 3):
        assert table.park(sized(i, 10 * i, 30, peer=2)) == []
    assert names(table.park(sized(4, 25, size, peer=2))) == lost
    assert table.size == 160 + size - 30 * len(lost)
    assert name(1) in table


def test_the_only_one_of_a_peer_may_be_larger_than_its_bytes() -> None:
    table: PendingTable[str] = PendingTable(100, 100, 100, 1000, 100)
    assert table.park(sized(1, 5, 500)) == []
    assert names(table.park(sized(2, 4, 10))) == ["v1"]
    assert names(table.park(sized(3, 3, 500))) == ["v2"]
    assert (len(table), table.size) == (1, 500)


@pytest.mark.parametrize(("size", "lost"), [(99, []), (100, []), (101, ["v2"])])
def test_beyond_the_bytes_of_all_whoever_holds_most_pays(size: int, lost: list[str]) -> None:
    table: PendingTable[str] = PendingTable(100, 100, 100, 500, 400)
    for i in (1, 2):
        table.park(sized(i, 10 * i, 150, peer=7))
    table.park(sized(3, 99, 100, peer=8))
    assert names(table.park(sized(4, 98, size, peer=9))) == lost
    assert table.size <= 500


def test_bytes_are_given_back_by_whatever_takes_a_vertex_out() -> None:
    table: PendingTable[str] = PendingTable(100, 100, 100, 500, 400)
    for i in range(1, 5):
        table.park(sized(i, i + 1, 100))
    table.resolve(name(1001))
    assert table.size == 300
    table.set_gc_round(Round(3))
    assert table.size == 200 - 100 * (name(3) not in table)
    table.set_gc_round(Round(10))
    assert (len(table), table.size) == (0, 0)


def test_missing_parents_are_bounded() -> None:
    table: PendingTable[str] = PendingTable(100, 100, 3)
    assert table.park(entry(1, 5, ref(10, 4), ref(11, 4))) == []
    assert table.park(entry(2, 4, ref(12, 3))) == []
    assert names(table.park(entry(3, 3, ref(13, 2)))) == ["v1"]
    assert names(table.park(entry(4, 3, ref(20, 2), ref(21, 2), ref(22, 2), ref(23, 2)))) == ["v4"]
    assert table.missing_count == 2


def test_gc_drops_what_is_low_and_releases_what_is_exempt() -> None:
    table: PendingTable[str] = PendingTable(10, 10, 10)
    table.park(entry(1, 4, ref(10, 3)))
    table.park(entry(2, 6, ref(11, 4)))
    table.park(entry(3, 6, ref(12, 4), ref(13, 5)))
    assert names(table.set_gc_round(Round(4))) == ["v2"]
    assert table.missing() == [ref(13, 5)]
    assert names(table.resolve(name(13))) == ["v3"]


def test_a_flood_stays_within_every_bound() -> None:
    table: PendingTable[str] = PendingTable(20, 8, 30)
    table.park(entry(0, 2, peer=9))
    for i in range(1, 3000):
        missing = [ref(5000 + (i * 7 + k) % 900, 2) for k in range(1 + i % 4)]
        table.park(entry(i, 3 + i * 37 % 101, *dict.fromkeys(missing), peer=i % 5))
        assert len(table) <= 20
        assert table.missing_count <= 30
    assert name(0) in table


def test_parking_twice_changes_nothing_and_bad_calls_raise() -> None:
    table: PendingTable[str] = PendingTable(1, 1, 1)
    table.park(entry(1, 5))
    assert table.park(entry(1, 5)) == []
    assert len(table) == 1
    with pytest.raises(ShapeError):
        table.park(Parked(Round(1), name(2), 0, (), "v2"))
    with pytest.raises(ShapeError):
        PendingTable(0, 1, 1)


def test_each_has_its_turn() -> None:
    table: PendingTable[str] = PendingTable(10, 10, 10)
    for i in range(5):
        table.park(entry(i, 5))
    assert names(table.turn(2)) == ["v0", "v1"]
    table.park(entry(7, 5))
    assert names(table.turn(3)) == ["v2", "v3", "v4"]
    table.resolve(name(1000))
    assert names(table.turn(2)) == ["v1", "v7"]
    assert names(table.turn(9)) == ["v2", "v3", "v4", "v1", "v7"]
    assert names(table.turn(1)) == ["v2"]
