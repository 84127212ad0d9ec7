"""The feed of the DAG: what is kept, in which order, from which cursor, and within which bounds."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertices import (
    CHAIN,
    COMMITTEE,
    KEYS,
    OPERATORS,
    commit,
    digest,
    operator_vertex,
    refs,
    transfers,
    validator_vertex,
)
from vertices import tip as tip_of

from cherrydag.dag.window import Window
from cherrydag.payload import build_payload
from cherrydag.primitives import Digest
from cherrydag.rpc.dag_cast import DagCast
from cherrydag.rpc.dag_feed import COMMIT_NAMES_MAX, NAME_BYTES, CommitNote, DagFeed, VertexNote, names_of
from cherrydag.rpc.limits import RpcLimits
from cherrydag.vertex import ValidatorVertex, genesis_vertices

WALL_MS = 1_800_000_000_000
START = 1000 * WALL_MS
LIMITS = RpcLimits()


class Store:
    """Commits with the numbers of transactions of their vertices."""

    def __init__(self, commits=()) -> None:
        self._commits = list(commits)

    def commits(self, first: int, last: int):
        return [each for each in self._commits if first <= each.index <= last]

    def outcome(self, index: int):
        (found,) = self.commits(index, index)
        return SimpleNamespace(statuses=[b"\1\1"] * len(found.vertices))


def running_of(window: Window | None = None, commits=()) -> Any:
    engine = SimpleNamespace(
        window=window or Window([1] * 4, bytes(16)), clock_round=9, chain=SimpleNamespace(gc_round=3)
    )
    host = SimpleNamespace(wall_ms=WALL_MS, watchers=[], node=SimpleNamespace(engine=engine))
    return SimpleNamespace(
        service=SimpleNamespace(rules=SimpleNamespace(committee=COMMITTEE)),
        host=host,
        books=SimpleNamespace(commit_index=len(commits)),
        store=Store(commits),
    )


def feed_of(notes: int = 8, event_bytes: int = 1 << 20, **world: Any) -> DagFeed:
    feed = DagFeed(running_of(**world), replace(LIMITS, dag_notes=notes, dag_event_bytes=event_bytes))
    feed.start()
    return feed


def vertex(round_: int) -> ValidatorVertex:
    return validator_vertex(signed=False, round=round_, ancestors=refs(round_ - 1), tips=(), commit_votes=())


def add(feed: DagFeed, first: int, count: int) -> None:
    feed.on_accepted([vertex(round_) for round_ in range(first, first + count)])


def read(feed: DagFeed, after: int, until: int | None = None, **options: Any) -> tuple[int, Any]:
    event = feed.event(after, feed.last if until is None else until, **options)
    return event.cursor, orjson.loads(event.encoded)


def rounds(form: Any) -> list[int]:
    return [each["round"] for each in form["vertices"]]


# What a note says


def test_a_validators_vertex_is_told_with_its_ancestors_and_its_tips():
    feed = feed_of()
    told = validator_vertex(payload=build_payload(transfers(3), CHAIN))
    feed.on_accepted([told])
    (form,) = read(feed, START)[1]["vertices"]
    parents = [ref.digest.hex()[:16] for ref in (*told.ancestors, *told.tips)]
    assert form == {
        "name": told.digest.hex()[:16],
        "kind": "validator",
        "author": 0,
        "issuer": KEYS[0].public_key.hex(),
        "round": 5,
        "time_ms": told.timestamp_ms,
        "transactions": 3,
        "bytes": len(told.header) + 3 * 176,
        "parents": parents,
    }


def test_an_operators_vertex_is_told_with_its_issuer_and_its_anchor_round():
    feed = feed_of()
    told = operator_vertex()
    feed.on_accepted([told])
    (form,) = read(feed, START)[1]["vertices"]
    assert (form["kind"], form["author"], form["issuer"]) == (
        "operator",
        None,
        OPERATORS[0].public_key.hex(),
    )
    assert form["round"] == told.anchor_round
    assert form["parents"] == [ref.digest.hex()[:16] for ref in told.parents]


def test_a_note_holds_numbers_and_short_bytes_alone():
    feed = feed_of()
    feed.on_accepted([validator_vertex(payload=build_payload(transfers(3), CHAIN)), operator_vertex()])
    executed = SimpleNamespace(sub_dag=SimpleNamespace(commit=commit()), result=SimpleNamespace(statuses=[]))
    feed.on_final(executed)
    for note in feed._notes:
        for value in note or ():
            assert type(value) is int or (type(value) is bytes and len(value) <= 8 * 8)


def test_an_event_says_where_the_node_stands():
    cursor, form = read(feed_of(), START)
    assert cursor == START
    assert form == {"is_gap": False, "round": 9, "gc_round": 3, "vertices": [], "commits": []}


@pytest.mark.parametrize("count", [1, COMMIT_NAMES_MAX - 1, COMMIT_NAMES_MAX, COMMIT_NAMES_MAX + 1])
def test_a_commit_of_many_vertices_is_told_in_parts_that_add_up(count):
    feed = feed_of()
    listed = (*(tip_of(1, number) for number in range(count - 1)), *refs(4, "2"))
    told = commit(vertices=listed)
    counts = [[0] * (number % 3) for number in range(count)]
    feed.on_final(
        SimpleNamespace(sub_dag=SimpleNamespace(commit=told), result=SimpleNamespace(statuses=counts))
    )
    parts = read(feed, START)[1]["commits"]
    assert len(parts) == -(-count // COMMIT_NAMES_MAX)
    assert {(part["commit_index"], part["leader"]) for part in parts} == {
        (12, refs(4, "2")[0].digest.hex()[:16])
    }
    names = [name for part in parts for name in part["vertices"]]
    assert names == [ref.digest.hex()[:16] for ref in listed]
    assert sum(part["transactions"] for part in parts) == sum(map(len, counts))


# What is kept


@pytest.mark.parametrize("count", [7, 8, 9])
def test_the_newest_notes_are_kept_and_no_more(count):
    feed = feed_of(notes=8)
    add(feed, 1, count)
    kept = min(count, 8)
    assert feed.last == START + count and feed.first == START + count - kept + 1
    cursor, form = read(feed, feed.first - 1)
    assert cursor == feed.last and rounds(form) == list(range(count - kept + 1, count + 1))


@pytest.mark.parametrize(("behind", "is_gap"), [(7, False), (8, False), (9, True)])
def test_a_cursor_goes_on_as_long_as_all_behind_it_is_kept(behind, is_gap):
    feed = feed_of(notes=8)
    add(feed, 1, 20)
    wanted = feed.last - behind
    assert feed.begin(wanted) == ((feed.first - 1, True) if is_gap else (wanted, False))


def test_without_a_cursor_all_that_is_kept_is_told_and_nothing_is_missing():
    feed = feed_of(notes=8)
    assert feed.begin(None) == (START, False)
    add(feed, 1, 20)
    assert feed.begin(None) == (feed.first - 1, False)


@pytest.mark.parametrize("after", [0, START - 1, START + 21])
def test_a_cursor_of_another_life_is_a_gap(after):
    feed = feed_of(notes=32)
    add(feed, 1, 20)
    assert feed.begin(after) == (START, True)


def test_the_cursors_of_a_later_life_are_above_those_of_an_earlier_one():
    feed = feed_of(notes=4)
    add(feed, 1, 900)
    later = DagFeed(running_of(), LIMITS)
    later._running.host.wall_ms += 1
    later.start()
    assert later.begin(feed.last) == (later.last, True)


def test_what_went_while_it_was_read_is_a_gap():
    feed = feed_of(notes=4)
    add(feed, 1, 4)
    after = START + 1
    add(feed, 5, 10)
    cursor, form = read(feed, after)
    assert form["is_gap"] and rounds(form) == [11, 12, 13, 14] and cursor == feed.last
    assert not read(feed, cursor)[1]["is_gap"]


# Events


@pytest.mark.parametrize(("less", "told"), [(-1, 3), (0, 3), (1, 2)])
def test_an_event_holds_what_fits_into_its_bytes(less, told):
    size = sum(feed_of()._vertex_note(vertex(round_)).json_size for round_ in (1, 2, 3))
    feed = feed_of(event_bytes=size - less)
    add(feed, 1, 3)
    cursor, form = read(feed, START)
    assert rounds(form) == [1, 2, 3][:told] and cursor == START + told
    assert rounds(orjson.loads(feed.newest().encoded)) == [1, 2, 3][-told:]


def test_an_event_has_one_note_however_large_that_is():
    feed = feed_of(event_bytes=1)
    add(feed, 1, 3)
    assert [rounds(read(feed, START + at)[1]) for at in range(4)] == [[1], [2], [3], []]
    assert feed.newest().cursor == feed.last


@given(
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 300),
    st.booleans(),
)
def test_a_note_takes_no_more_json_than_it_says(author, round_, time_ms, names, is_operator):
    parents = names_of([digest(number) for number in range(names)])
    made = VertexNote(
        bytes(8), -1 if is_operator else author, bytes(32), round_, time_ms, 2**32 - 1, 2**40, parents
    )
    assert len(orjson.dumps(made.form())) < made.json_size
    of_commit = CommitNote(2**63, time_ms, bytes(8), parents, 2**32)
    assert len(orjson.dumps(of_commit.form())) < of_commit.json_size


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 2500), st.integers(3, 12))
def test_whoever_keeps_reading_misses_nothing_without_being_told(bursts, event_bytes, notes):
    """Against a plain list: each event goes on where the last one ended, or says that it does not."""
    feed = feed_of(notes=notes, event_bytes=event_bytes)
    cursor, sent, seen = START, 0, 0
    for burst in bursts:
        add(feed, sent + 1, burst)
        sent += burst
        cursor, form = read(feed, cursor)
        if form["is_gap"]:
            assert seen < sent - notes
            seen = sent - notes
        assert rounds(form) == list(range(seen + 1, seen + 1 + len(form["vertices"])))
        seen += len(form["vertices"])
        assert cursor == START + seen


# At the start


def grown(rounds_: int) -> tuple[Window, list[ValidatorVertex]]:
    """A window with four validators' vertices of each round, every one over all of the round before."""
    window, made = Window([1] * 4, bytes(16)), []
    below = [each.ref for each in genesis_vertices(COMMITTEE, CHAIN.genesis_digest)]
    for number in range(1, rounds_ + 1):
        level = []
        for author in range(4):
            own = [ref for ref in below if ref.author == author]
            ancestors = (*own, *(ref for ref in below if ref.author != author))
            level.append(
                validator_vertex(
                    signed=False, round=number, author=author, ancestors=ancestors, tips=(), commit_votes=()
                )
            )
        for each in level:
            window.insert(each)
        made += level
        below = [each.ref for each in level]
    return window, made


def test_a_feed_begins_with_the_window_commits_first_and_parents_before_children():
    window, made = grown(4)
    anchored = operator_vertex(signed=False, parents=(made[12].ref,), anchor_round=4, seq=0)
    window.insert(anchored)
    commits = [
        commit(index=1, vertices=(made[0].ref,)),
        commit(index=2, vertices=tuple(made[at].ref for at in (1, 2, 3, 5))),
    ]
    feed = feed_of(notes=64, window=window, commits=commits)
    _, form = read(feed, START)
    names = [each["name"] for each in form["vertices"]]
    assert sorted(names) == sorted(each.digest.hex()[:16] for each in (*made, anchored))
    places = {name: at for at, name in enumerate(names)}
    for each in form["vertices"]:
        assert all(places[parent] < places[each["name"]] for parent in each["parents"] if parent in places)
    assert [(each["commit_index"], each["transactions"]) for each in form["commits"]] == [(1, 2), (2, 8)]


@pytest.mark.parametrize(("gc_round", "told"), [(0, [1, 2]), (1, [2]), (2, [2]), (3, [])])
def test_a_commit_below_the_window_is_left_out_at_the_start(gc_round, told):
    window, made = grown(4)
    commits = [
        commit(index=1, vertices=(made[0].ref,)),
        commit(index=2, vertices=(*(made[at].ref for at in (1, 2, 3)), made[8].ref)),
    ]
    window.set_gc_round(gc_round)
    _, form = read(feed_of(notes=64, window=window, commits=commits), START)
    assert [each["commit_index"] for each in form["commits"]] == told
    assert min(rounds(form)) == gc_round + 1 and len(form["vertices"]) == 4 * (4 - gc_round)


def test_a_feed_looks_on_from_start_to_stop():
    feed = feed_of()
    watchers = feed._running.host.watchers
    assert watchers == [feed]
    feed.stop()
    feed.stop()
    assert watchers == []


# Followers


class Follower:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def tell(self, event: Any) -> None:
        self.told.append(event)


async def test_all_followers_get_the_same_bytes_made_once():
    cast = DagCast(running_of(), LIMITS)
    cast.feed.start()
    followers = [Follower() for _ in range(3)]
    for follower in followers:
        cast.join(follower)
    add(cast.feed, 1, 2)
    cast._beat()
    cast._beat()
    assert [len(follower.told) for follower in followers] == [1, 1, 1]
    first = followers[0].told[0]
    assert all(follower.told[0].encoded is first.encoded for follower in followers)
    assert rounds(orjson.loads(first.encoded)) == [1, 2] and cast.cursor == first.cursor == cast.feed.last
    for follower in followers:
        cast.leave(follower)


async def test_who_joins_stands_where_the_others_do():
    cast = DagCast(running_of(), LIMITS)
    cast.feed.start()
    add(cast.feed, 1, 2)
    assert cast.cursor == cast.feed.last  # nobody is there: at the end
    first, second = Follower(), Follower()
    cast.join(first)
    add(cast.feed, 3, 2)
    assert cast.cursor == cast.feed.last - 2
    cast.join(second)
    cast._beat()
    assert first.told == second.told and rounds(orjson.loads(first.told[0].encoded)) == [3, 4]
    cast.leave(first)
    cast.leave(second)


async def test_no_timer_runs_while_nobody_follows():
    cast = DagCast(running_of(), LIMITS)
    cast.feed.start()
    assert cast._timer is None
    one = Follower()
    cast.join(one)
    assert cast._timer is not None
    cast.leave(one)
    cast.leave(one)
    assert cast._timer is None


async def test_followers_of_a_dag_that_grows_too_fast_get_the_newest_behind_a_gap():
    limits = replace(LIMITS, dag_notes=8, dag_event_bytes=1000)
    cast = DagCast(running_of(), limits)
    cast.feed.start()
    one = Follower()
    cast.join(one)
    for burst in range(3):
        add(cast.feed, 1 + 20 * burst, 20)
        cast._beat()
    forms = [orjson.loads(event.encoded) for event in one.told]
    assert [form["is_gap"] for form in forms] == [True] * 3
    assert [rounds(form)[-1] for form in forms] == [20, 40, 60] and cast.cursor == cast.feed.last
    cast.leave(one)


def test_names_are_the_beginnings_of_digests():
    digests = [Digest(digest(number)) for number in range(3)]
    assert names_of(digests) == b"".join(each[:NAME_BYTES] for each in digests)
