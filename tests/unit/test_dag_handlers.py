"""What is told of single vertices and of the validators' part in the DAG."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertices import CHAIN, GENESIS, commit, operator_vertex, refs, transfers, validator_vertex

from cherrydag.dag.window import Window
from cherrydag.payload import build_payload, payload_ids
from cherrydag.refs import VertexRef
from cherrydag.rpc import dag_handlers
from cherrydag.rpc.limits import RpcLimits

DEPTH = 4


class Store:
    def __init__(self, commits=(), vertices=()) -> None:
        self._commits = list(commits)
        self._vertices = list(vertices)
        self.read = 0

    def commits(self, first: int, last: int):
        found = [each for each in self._commits if first <= each.index <= last]
        self.read += len(found)
        return found

    def commits_bounds(self):
        return (self._commits[0].index, self._commits[-1].index) if self._commits else None

    def named(self, prefix: bytes):
        assert len(prefix) == 8
        return [each for each in self._vertices if each.digest.startswith(prefix)]


def api_of(commits=(), vertices=(), executed: int | None = None, ids: int = 100) -> Any:
    async def enter() -> None:
        await asyncio.sleep(0)

    genesis = SimpleNamespace(
        chain=lambda: CHAIN,
        chain_params=SimpleNamespace(gc_depth=DEPTH),
        validators=[SimpleNamespace(public_key=bytes([number]) * 32) for number in range(4)],
    )
    return SimpleNamespace(
        running=SimpleNamespace(store=Store(commits, vertices), home=SimpleNamespace(genesis=genesis)),
        commit_index=(commits[-1].index if commits else 0) if executed is None else executed,
        limits=RpcLimits(vertex_ids=ids),
        reads=SimpleNamespace(enter=enter),
    )


# Which commit orders a vertex


@st.composite
def chains(draw: st.DrawFn):
    """Commits with rising leaders, each over vertices that no commit before has, none below its window."""
    made, low, leader = [], 0, 0
    taken: set[VertexRef] = set()
    for index in range(3, 3 + draw(st.integers(0, 12))):
        low, leader = max(0, leader - DEPTH), leader + draw(st.integers(1, 3))
        wanted = draw(st.lists(st.tuples(st.integers(low + 1, leader), st.integers(0, 3)), max_size=6))
        listed = [refs(round_, [author])[0] for round_, author in wanted if round_ < leader]
        fresh = [ref for ref in dict.fromkeys(listed) if ref not in taken]
        taken.update(fresh)
        made.append(commit(index=index, vertices=(*fresh, refs(leader, [index % 4])[0])))
        taken.add(made[-1].leader)
    return made


@given(chains(), st.integers(0, 6))
def test_the_commit_of_a_vertex_is_the_one_that_lists_it(commits, executed_less):
    executed = commits[-1].index - executed_less if commits else 0
    api = api_of(commits, executed=executed)
    for round_ in range(1, 40):
        for author in range(4):
            ref = refs(round_, [author])[0]
            listing = [each for each in commits if ref in each.vertices and each.index <= executed]
            found = asyncio.run(dag_handlers._commit_of(api, SimpleNamespace(ref=ref)))
            assert found == (listing[0] if listing else None)


async def test_few_commits_are_read_of_many():
    commits = [commit(index=index, vertices=refs(index, "0")) for index in range(1, 2000)]
    api = api_of(commits)
    found = await dag_handlers._commit_of(api, SimpleNamespace(ref=refs(1000, "1")[0]))
    assert found is None and api.running.store.read < 30


# One vertex


@pytest.mark.parametrize("digits", [16, 17, 40, 64])
async def test_a_vertex_is_found_by_what_its_digest_begins_with(digits):
    told, other = validator_vertex(), validator_vertex(round=6, ancestors=refs(5))
    api = api_of(vertices=[other, told])
    found = await dag_handlers.vertex(api, told.digest.hex()[:digits])
    assert found is not None and found["digest"] == told.digest.hex() and found["commit_index"] is None


async def test_digits_beyond_the_name_count_too():
    told = validator_vertex()
    wrong = told.digest.hex()[:16] + ("0" if told.digest.hex()[16] != "0" else "1")
    assert await dag_handlers.vertex(api_of(vertices=[told]), wrong) is None


async def test_the_leader_of_a_commit_is_told_apart():
    leader = validator_vertex(round=6, ancestors=refs(5))
    told = validator_vertex()
    api = api_of([commit(index=3, vertices=(told.ref, leader.ref))], [told, leader])
    forms = [await dag_handlers.vertex(api, each.digest.hex()) for each in (told, leader)]
    assert [(form["commit_index"], form["is_leader"]) for form in forms] == [(3, False), (3, True)]


@pytest.mark.parametrize(("count", "listed"), [(0, 0), (1, 1), (2, 2), (3, 2)])
async def test_the_ids_of_a_vertex_are_bounded(count, listed):
    payload = build_payload(transfers(count), CHAIN)
    told = validator_vertex(payload=payload)
    form = await dag_handlers.vertex(api_of(vertices=[told], ids=2), told.digest.hex())
    assert form["transactions"] == count
    assert "".join(form["ids"]) == payload_ids(payload, CHAIN).hex()[: 64 * listed]
    assert form["bytes"] == len(told.header) + 176 * count


async def test_an_operators_vertex_has_a_seq_and_no_author():
    told = operator_vertex()
    form = await dag_handlers.vertex(api_of(vertices=[told]), told.digest.hex())
    assert (form["kind"], form["author"], form["seq"], form["tips"]) == ("operator", None, 4, [])
    assert form["issuer"] == told.issuer.hex() and form["round"] == told.anchor_round
    assert [ref["kind"] for ref in form["parents"]] == ["operator", "operator", "validator"]
    own = validator_vertex()
    form = await dag_handlers.vertex(api_of(vertices=[own]), own.digest.hex())
    assert (form["kind"], form["author"], form["seq"], len(form["tips"])) == ("validator", 0, None, 2)
    assert form["issuer"] == (bytes([0]) * 32).hex()


# The validators


def test_rounds_without_a_vertex_are_misses_once_the_next_round_has_a_quorum():
    window, below = Window([1] * 4, bytes(16)), list(GENESIS)
    there = {1: "0123", 2: "013", 3: "012", 4: "0123", 5: "01"}  # 5 has no quorum: the clock stands at 4
    for number, authors in there.items():
        level = []
        for author in map(int, authors):
            own = [ref for ref in below if ref.author == author]
            ancestors = (*own, *(ref for ref in below if ref.author != author))
            made = validator_vertex(
                signed=False, round=number, author=author, ancestors=ancestors, tips=(), commit_votes=()
            )
            window.insert(made)
            level.append(made.ref)
        below = level
    engine = SimpleNamespace(window=window, clock_round=4)
    lines = dag_handlers._lines(SimpleNamespace(engine=engine), 4)
    assert [line["rounds"] for line in lines] == [3] * 4
    assert [line["misses"] for line in lines] == [0, 0, 1, 1]
    assert [line["vertices"] for line in lines] == [5, 5, 3, 3]
    assert [line["last_round"] for line in lines] == [5, 5, 4, 4]


def test_of_an_empty_window_nothing_is_missed():
    engine = SimpleNamespace(window=Window([1] * 4, bytes(16)), clock_round=0)
    (line,) = dag_handlers._lines(SimpleNamespace(engine=engine), 1)
    assert line == {"last_round": None, "vertices": 0, "rounds": 0, "misses": 0}


def test_a_slot_that_the_chain_went_past_is_a_missed_lead():
    leaders = refs(5, "1") + refs(6, "2") + refs(9, "1")
    chain = SimpleNamespace(gc_round=5, leader=lambda round_: {7: 0, 8: 3}[round_])
    api = SimpleNamespace(
        running=SimpleNamespace(
            lookups=SimpleNamespace(recent_leaders=lambda: list(leaders)),
            home=SimpleNamespace(genesis=SimpleNamespace(validators=[None] * 4)),
        )
    )
    node = SimpleNamespace(engine=SimpleNamespace(chain=chain))
    assert dag_handlers._leads(api, node) == ([0, 1, 1, 0], [1, 0, 0, 1])
    api.running.lookups.recent_leaders = list
    assert dag_handlers._leads(api, node) == ([0] * 4, [0] * 4)
