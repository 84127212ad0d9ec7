"""The address book: which bucket, who gives way, whom to try, what is told on."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from eclipse_world import BEGIN_MS, Node, make_node
from hypothesis import given
from hypothesis import strategies as st
from vertices import CHAIN, OTHER_CHAIN

from cherrydag.errors import StorageError
from cherrydag.net.address_book import AddressBook, BookLimits, Entry
from cherrydag.net.addresses import Address, Place, Scope
from cherrydag.net.admission import Ban
from cherrydag.net.discovery import Seed
from cherrydag.net.peer_record import LIFE_MS
from cherrydag.runtime.book_file import PEERS, SET_ASIDE, BookFile, Saved, decode_saved, encode_saved

SOURCE = Address.of("9.9.9.9", 0)
LATER_MS = BEGIN_MS + 1000


def node(number: int, host: str = "") -> Node:
    return make_node(number, host or f"20.{number // 250}.{number % 250}.1", is_honest=True)


def book(validators: tuple[bytes, ...] = (), seed: int = 1, **limits: int) -> AddressBook:
    return AddressBook(bytes([seed]) * 32, validators, Random(seed), BookLimits(**limits))


def newer(found: Node, host: str = "") -> Node:
    """The same node a moment later, maybe elsewhere."""
    addresses = (Address.of(host, 1),) if host else found.record.addresses
    record = found.record._replace(sequence=found.record.sequence + 1, addresses=addresses)
    return Node(found.key, record, True)


# What is kept


def test_the_newest_record_of_a_key_counts() -> None:
    made, old = book(), node(1)
    assert made.add(old.record, SOURCE)
    assert not made.add(old.record, SOURCE)
    new = newer(old, "21.0.0.1")
    assert made.add(new.record, SOURCE)
    assert not made.add(old.record, SOURCE)
    assert made.find(old.key).record == new.record
    assert len(made) == len(made.new) == 1


def test_nobody_out_there_tells_of_addresses_within_our_network() -> None:
    near = node(1, "10.0.0.1")
    for source, taken in (("9.9.9.9", False), ("10.0.0.2", True), ("127.0.0.1", True)):
        assert book().add(near.record, Address.of(source, 0)) == taken
    assert not book((near.key,)).add(near.record, SOURCE)


def test_one_network_fills_few_buckets() -> None:
    made = book()
    for number in range(3000):
        made.add(node(number, f"{30 + number % 100}.{number // 100}.1.1").record, SOURCE)
    buckets = {entry.bucket for entry in made.new}
    assert len(buckets) <= made.limits.source_buckets
    assert len(made) <= made.limits.source_buckets * made.limits.bucket_entries
    own = book()
    for number in range(3000):
        own.add(node(number, f"30.1.{number // 250}.{number % 250 + 1}").record, SOURCE)
    assert len({entry.bucket for entry in own.new}) == 1


def test_nodes_of_one_network_reach_few_tried_buckets() -> None:
    made = book()
    for number in range(1000):
        found = node(number, f"30.1.{number // 250}.{number % 250 + 1}")
        made.add(found.record, Address.of(f"{number % 90 + 10}.{number // 90}.1.1", 0))
        made.answered(found.key, found.address, LATER_MS)
    buckets = Counter(entry.bucket for entry in made.tried)
    assert len(buckets) <= made.limits.group_buckets
    assert max(buckets.values()) == made.limits.bucket_entries


def test_buckets_depend_on_the_secret() -> None:
    found = [book(seed=seed) for seed in (1, 2)]
    for made in found:
        for number in range(100):
            made.add(node(number).record, Address.of(f"{10 + number}.1.1.1", 0))
    one, other = [{e.record.public_key: e.bucket for e in made.new} for made in found]
    assert one != other


@pytest.mark.parametrize(("size", "taken"), [(15, True), (16, False), (17, False)])
def test_a_bucket_is_full_at_its_bound(size: int, taken: bool) -> None:
    made = book(new_buckets=1)
    for number in range(size):
        made.add(node(number, f"30.{number}.1.1").record, SOURCE)
    assert made.add(node(99, "30.99.1.1").record, SOURCE) == taken
    assert len(made) == 16


def test_in_a_full_bucket_gives_way_who_failed_then_hearsay_then_a_crowd() -> None:
    made = book(new_buckets=1, bucket_entries=3)
    crowd = [node(number, f"30.1.1.{number + 1}") for number in range(3)]
    for found in crowd:
        made.add(found.record, SOURCE)
    other = [node(10 + number, f"31.{number}.1.1") for number in range(3)]
    assert made.add(other[0].record, SOURCE)  # two of the crowd are left
    assert not made.add(node(20, "30.1.1.99").record, SOURCE)  # another of the crowd
    made.failed(other[0].key, LATER_MS)
    assert made.add(other[1].record, SOURCE)
    assert made.find(other[0].key) is None
    assert made.add(other[2].record, SOURCE)
    assert not made.add(node(30, "32.1.1.1").record, SOURCE)  # each of its own network now
    assert made.add(node(30, "32.1.1.1").record, SOURCE, is_vouched=True)
    assert len(made) == 3


def test_a_tried_node_gives_way_only_after_a_day_of_silence() -> None:
    for silence, stays in ((-1, True), (0, False)):
        made = book(tried_buckets=1, bucket_entries=1)
        old, new = node(1), node(2, "31.1.1.1")
        for found, at_ms in ((old, BEGIN_MS), (new, BEGIN_MS + made.limits.steady_ms + silence)):
            made.add(found.record, SOURCE)
            made.answered(found.key, found.address, at_ms)
        assert made.find(old.key).is_tried == stays
        assert made.find(new.key).is_tried != stays
        assert len(made) == 2


def test_a_node_that_never_answers_is_forgotten_and_one_that_did_is_not() -> None:
    made, dead, old = book(), node(1), node(2)
    for found in (dead, old):
        made.add(found.record, SOURCE)
    made.answered(old.key, old.address, LATER_MS)
    for number in range(made.limits.failures_new):
        assert len(made) == 2
        for found in (dead, old):
            made.failed(found.key, LATER_MS + number)
    assert made.find(dead.key) is None and made.find(old.key) is not None


def test_a_tried_node_that_moves_must_answer_again() -> None:
    made, found = book(), node(1)
    made.add(found.record, SOURCE)
    made.answered(found.key, found.address, LATER_MS)
    made.add(newer(found).record, SOURCE)
    assert made.find(found.key).is_tried
    moved = newer(newer(found), "31.1.1.1")
    made.add(moved.record, SOURCE)
    assert not made.find(found.key).is_tried
    made.answered(found.key, found.address, LATER_MS)  # where it no longer is
    assert not made.find(found.key).is_tried


def test_old_records_are_forgotten_and_validators_stay() -> None:
    member, other = node(1), node(2)
    made = book((member.key,))
    for found in (member, other):
        made.add(found.record, SOURCE)
    made.expire(BEGIN_MS + LIFE_MS - 1)
    assert len(made) == 1
    made.expire(BEGIN_MS + LIFE_MS)
    assert len(made) == 0 and list(made.committee) == [member.key]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("aftm"), st.integers(0, 5)), max_size=200))
def test_the_tables_always_agree(steps: list[tuple[int, str, int]]) -> None:
    made = book(new_buckets=2, tried_buckets=2, bucket_entries=3)
    at_ms = BEGIN_MS
    latest = {number: node(number) for number in range(10)}
    for number, what, where in steps:
        at_ms += made.limits.steady_ms // 4
        found = latest[number]
        if what == "a":
            made.add(found.record, Address.of(f"{40 + where}.1.1.1", 0), is_vouched=where == 0)
        elif what == "f":
            made.failed(found.key, at_ms)
        elif what == "t":
            made.answered(found.key, found.address, at_ms)
        else:
            latest[number] = newer(found, f"{50 + where}.2.2.2")
        entries = made.new + made.tried
        assert len(entries) == len(made) == len({entry.record.public_key for entry in entries})
        assert all(made.find(entry.record.public_key) is entry for entry in entries)
        assert all(entry.is_tried for entry in made.tried) and not any(entry.is_tried for entry in made.new)
        assert len(made.new) <= 6 and len(made.tried) <= 6


# Whom to try, what to tell


def test_who_was_tried_lately_is_left_alone_ever_longer() -> None:
    made, found = book(), node(1)
    made.add(found.record, SOURCE)
    made.answered(found.key, found.address, BEGIN_MS)
    for failures in range(4):
        pause_ms = made.limits.pause_ms << failures
        entry = made.find(found.key)
        assert made.choose(entry.asked_ms + pause_ms - 1, lambda _: True) is None
        assert made.choose(entry.asked_ms + pause_ms, lambda _: True) is entry
        made.failed(found.key, BEGIN_MS)


def test_many_nodes_of_one_network_are_chosen_as_seldom_as_one() -> None:
    made = book(new_buckets=1, bucket_entries=16)
    for number in range(14):
        made.add(node(number, f"30.1.1.{number + 1}").record, SOURCE)
    for number in (20, 21):
        made.add(node(number, f"{number}.1.1.1").record, SOURCE)
    chosen = Counter(made.choose(LATER_MS, lambda _: True).group for _ in range(600))
    assert min(chosen.values()) > 140 and len(chosen) == 3


def test_what_is_told_is_of_as_many_networks_as_there_are() -> None:
    made = book()
    crowd = [Entry(node(n, f"30.1.{n // 250}.{n % 250 + 1}").record, Scope.WORLD, b"") for n in range(500)]
    rest = [Entry(node(600 + n, f"{40 + n}.1.1.1").record, Scope.WORLD, b"") for n in range(30)]
    told = made.draw(crowd + rest, 10, LATER_MS)
    own = {entry.record.public_key for entry in crowd}
    assert len(told) == 10 and sum(record.public_key in own for record in told) <= 1
    firsts = Counter(made.draw(crowd + rest, 1, LATER_MS)[0].public_key in own for _ in range(300))
    assert firsts[True] < 40  # one network of 31
    assert len(made.draw(crowd + rest, 40, LATER_MS)) == 40
    assert made.draw(crowd, 10, BEGIN_MS + LIFE_MS) == []


# On disk


def saved() -> Saved:
    member = node(0)
    made = book((member.key,))
    for number in range(60):
        found = node(number)
        made.add(found.record, Address.of(f"{10 + number}.1.1.1", 0), is_vouched=number % 2 == 0)
        if number % 3 == 0:
            made.answered(found.key, found.address, LATER_MS)
        if number % 5 == 0:
            made.failed(found.key, LATER_MS)
    entries = [*made.committee.values(), *made.tried, *made.new]
    anchors = [Seed(node(1).key, Place("20.0.1.1", 7001))]
    bans = [Ban(node(2).key, None, LATER_MS, "it lied"), Ban(node(3).key, "8.8.8.8", LATER_MS)]
    return Saved(made.secret, 17, entries, anchors, bans)


def test_a_book_is_the_same_after_a_restart() -> None:
    before = saved()
    after = decode_saved(encode_saved(before, CHAIN.genesis_digest), CHAIN.genesis_digest)
    assert after.anchors == before.anchors and after.bans == before.bans and after.sequence == 17
    made = book((node(0).key,))
    after.fill(made)
    assert [*made.committee.values(), *made.tried, *made.new] == list(before.entries)


def test_a_file_cut_flipped_or_of_another_chain_is_refused() -> None:
    data = encode_saved(saved()._replace(entries=()), CHAIN.genesis_digest)
    wrong = [data[:size] for size in range(0, len(data), 7)]
    wrong += [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(0, len(data), 5)]
    for damaged in wrong:
        with pytest.raises(StorageError):
            decode_saved(damaged, CHAIN.genesis_digest)
    with pytest.raises(StorageError, match="chain"):
        decode_saved(data, OTHER_CHAIN.genesis_digest)


def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path) -> None:
    file = BookFile(tmp_path, CHAIN.genesis_digest)
    assert file.load() is None and file.note is None
    assert file.write(file.encode(saved())) is None
    assert file.load() is not None and file.path.stat().st_mode & 0o777 == 0o600
    file.path.write_bytes(b"garbage")
    assert file.load() is None and "checksum" in str(file.note)
    assert (tmp_path / SET_ASIDE).read_bytes() == b"garbage" and not (tmp_path / PEERS).exists()


def test_a_file_that_cannot_be_written_is_said_and_not_fatal(tmp_path: Path) -> None:
    file = BookFile(tmp_path / "gone", CHAIN.genesis_digest)
    assert "cannot be written" in str(file.write(b"x"))
