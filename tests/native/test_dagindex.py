"""The native DAG index against its plain-Python reference, and its own claims."""

import random

import numpy as np
import pytest
from reference.dag_reference import OPERATOR, Ref, ReferenceDag, Vertex, is_validator

from cherrydag._native import dagindex
from cherrydag.dag import graph as g
from cherrydag.dag.graph import Graph, Handle, Limits, Outcome
from cherrydag.errors import ShapeError

SEED = bytes(range(16))


def digest_of(i: int) -> bytes:
    return random.Random(i).randbytes(32)


def fields(ref: Ref) -> g.Ref:
    return g.Ref(ref[1], ref[2], ref[0])


def pack(refs: list[Ref]) -> np.ndarray:
    return g.pack_refs(map(fields, refs))


def bits(authors: set[int]) -> int:
    return sum(1 << a for a in authors)


def random_dag(rng: random.Random, n: int, rounds: int) -> list[tuple[Ref, list[Ref]]]:
    """Vertices parents first: gaps, equivocations, weak links, operators with 2..8 parents."""
    made: list[tuple[Ref, list[Ref]]] = []
    by_round: dict[int, list[Ref]] = {0: [(rng.randbytes(32), 0, a) for a in range(n)]}
    operators: list[Ref] = []
    for r in range(1, rounds + 1):
        by_round[r] = []
        for author in range(n):
            if rng.random() < 0.1:
                continue
            for _ in range(2 if rng.random() < 0.15 else 1):
                ref = (rng.randbytes(32), r, author)
                parents = choose_parents(rng, by_round, r)
                listed = [t for t in operators if t[1] < r][-40:]
                parents += rng.sample(listed, min(len(listed), rng.randrange(4)))
                made.append((ref, parents))
                by_round[r].append(ref)
        for _ in range(rng.randrange(n)):
            known = by_round[r] + by_round[r - 1] + operators[-12:]
            parents = rng.sample(known, min(len(known), rng.randrange(2, 9)))
            if parents:
                ref = (rng.randbytes(32), max(p[1] for p in parents), OPERATOR + rng.randrange(5))
                made.append((ref, parents))
                operators.append(ref)
    return made


def choose_parents(rng: random.Random, by_round: dict[int, list[Ref]], r: int) -> list[Ref]:
    """At most one per author, mostly of the round before; now and then an older one."""
    chosen: dict[int, Ref] = {}
    for back in (1, 2, 3):
        for ref in rng.sample(by_round.get(r - back, []), len(by_round.get(r - back, []))):
            if ref[2] not in chosen and rng.random() < (0.85 if back == 1 else 0.5):
                chosen[ref[2]] = ref
    return rng.sample(list(chosen.values()), len(chosen))


def shuffled(rng: random.Random, dag: list[tuple[Ref, list[Ref]]]) -> list[tuple[Ref, list[Ref]]]:
    """Another order of arrival, some children before their parents."""
    return sorted(dag, key=lambda made: made[0][1] + rng.random() * 2)


def feed(
    dag: list[tuple[Ref, list[Ref]]], graph: Graph, reference: ReferenceDag | None = None
) -> dict[bytes, Handle]:
    """Insert until all are in; the reference, if given, must agree on each answer."""
    handles: dict[bytes, Handle] = {}
    waiting = list(dag)
    while waiting:
        again = []
        for ref, parents in waiting:
            got = graph.insert(fields(ref), pack(parents))
            if reference is not None:
                outcome, missing = reference.insert(ref, parents)
                assert (got.outcome, list(got.missing)) == (outcome, missing)
            if got.outcome == Outcome.MISSING:
                again.append((ref, parents))
            elif got.handle:
                handles[ref[0]] = got.handle
        assert len(again) < len(waiting)
        waiting = again
    return handles


def compare(graph: Graph, reference: ReferenceDag, rng: random.Random) -> None:
    """Every query over every vertex of the window, walks over a sample."""
    assert len(graph) == len(reference.vertices)
    assert graph.gc_round == reference.gc_round
    handles = {d: graph.find(d) for d in reference.vertices}
    names = {h: d for d, h in handles.items()}
    for vertex in reference.vertices.values():
        handle = handles[vertex.digest]
        ref = g.Ref(vertex.round, vertex.author, vertex.digest)
        facts = (ref, len(vertex.parents), bool(vertex.children), vertex.committed)
        assert graph.vertex(handle) == facts
        assert [names[h] for h in graph.parents(handle)] == [p[0] for p in vertex.parents]
        assert [names[h] for h in graph.children(handle)] == vertex.children[::-1]
        slot = {v.digest for v in reference.slot(vertex.round, vertex.author)}
        assert {names[h] for h in graph.slot(vertex.round, vertex.author)} == slot
        if is_validator(vertex.author):
            compare_support(graph, reference, vertex, handle)
    compare_walks(graph, reference, handles, rng)


def compare_support(graph: Graph, reference: ReferenceDag, vertex: Vertex, handle: Handle) -> None:
    slot = (vertex.round, vertex.author)
    pairs = [
        (graph.votes(handle), reference.votes(vertex)),
        (graph.blames(*slot), reference.blames(*slot)),
        (graph.certificates(handle), reference.certificates(vertex)),
        (graph.round_authors(vertex.round), {v.author for v in reference.round(vertex.round)}),
    ]
    for got, authors in pairs:
        assert got == (bits(authors), reference.stake(authors))


def compare_walks(
    graph: Graph, reference: ReferenceDag, handles: dict[bytes, Handle], rng: random.Random
) -> None:
    vertices = list(reference.vertices.values())
    for vertex in rng.sample(vertices, min(10, len(vertices))):
        handle = handles[vertex.digest]
        past = reference.past(vertex)
        narrow = reference.past(vertex, validators_only=True)
        for other in rng.sample(vertices, min(30, len(vertices))):
            to = handles[other.digest]
            assert graph.is_reachable(handle, to) == (other.digest in past)
            assert graph.is_reachable(handle, to, validators_only=True) == (other.digest in narrow)
            if is_validator(vertex.author) and is_validator(other.author):
                certified = reference.certified_in_past(vertex, other)
                assert graph.certified_in_past(handle, to) == certified
        approving = reference.approval(vertex)
        assert graph.approval(handle) == (bits(approving), reference.stake(approving))
        seed = rng.randbytes(32)
        expected = [handles[d] for d in reference.order(vertex, seed)]
        assert graph.order(handle, seed).tolist() == expected


@pytest.mark.parametrize("seed", range(12))
def test_every_query_equals_the_reference(seed: int) -> None:
    rng = random.Random(seed)
    n = rng.randrange(4, 21 if seed < 3 else 9)
    stakes = [rng.choice([1, 1, 5, 100]) for _ in range(n)]
    graph, reference = Graph(stakes, SEED), ReferenceDag(stakes)
    assert graph.quorum == reference.quorum
    feed(shuffled(rng, random_dag(rng, n, 9)), graph, reference)
    compare(graph, reference, rng)


@pytest.mark.parametrize("seed", range(12))
def test_gc_and_commits_at_any_point_equal_the_reference(seed: int) -> None:
    rng = random.Random(100 + seed)
    n = rng.randrange(4, 7)
    graph, reference = Graph([1] * n, SEED, Limits(rounds=16)), ReferenceDag([1] * n, rounds_max=16)
    for ref, parents in shuffled(rng, random_dag(rng, n, 40)):
        got = graph.insert(fields(ref), pack(parents))
        outcome, missing = reference.insert(ref, parents)
        assert (got.outcome, list(got.missing)) == (outcome, missing)
        if rng.random() < 0.02:
            gc_round = max(reference.gc_round, ref[1] - rng.randrange(1, 9))
            assert graph.set_gc_round(gc_round) == reference.set_gc_round(gc_round)
            compare(graph, reference, rng)
        if rng.random() < 0.03 and reference.vertices:
            leader = rng.choice(list(reference.vertices.values()))
            order = graph.order(graph.find(leader.digest), bytes(32))
            for digest in reference.order(leader, bytes(32)):
                reference.vertices[digest].committed = True
            graph.mark_committed(order)
        check_tips(graph, reference)


def check_tips(graph: Graph, reference: ReferenceDag) -> None:
    for operators_only in (False, True):
        expected = reference.tips(operators_only)
        chosen, counts, _ = graph.index.select_uniform(8, operators_only, len(reference.vertices), 1)
        picked = {graph.vertex(h).ref.digest for h in chosen[0, : counts[0]]}
        assert len(picked) == counts[0] == min(8, len(expected))
        assert picked <= expected


def test_an_order_depends_on_the_set_and_the_seed_alone() -> None:
    rng = random.Random(5)
    dag = random_dag(rng, 7, 8)
    orders = []
    for table in range(6):
        graph = Graph([1] * 7, bytes([table]) * 16)
        handles = feed(shuffled(rng, dag), graph)
        leader = max((ref for ref, _ in dag if is_validator(ref[2])), key=lambda ref: (ref[1], ref[0]))
        orders.append([graph.vertex(h).ref.digest for h in graph.order(handles[leader[0]], b"s" * 32)])
    assert all(order == orders[0] for order in orders)
    assert graph.order(handles[leader[0]], b"t" * 32).tolist() != [handles[d] for d in orders[0]]


def test_a_batch_equals_one_by_one() -> None:
    dag = shuffled(random.Random(8), random_dag(random.Random(7), 6, 10))
    single, batch = Graph([1] * 6, SEED), Graph([1] * 6, SEED)
    expected = [single.insert(fields(ref), pack(parents)) for ref, parents in dag]
    offsets = np.cumsum([0] + [len(parents) for _, parents in dag], dtype=np.uint64)
    got = batch.insert_batch(pack([r for r, _ in dag]), pack([p for _, ps in dag for p in ps]), offsets)
    assert got.outcomes.tolist() == [one.outcome for one in expected]
    assert got.handles.tolist() == [one.handle for one in expected]
    for i, one in enumerate(expected):
        assert tuple(np.flatnonzero(got.missing[int(offsets[i]) : int(offsets[i + 1])])) == one.missing


def test_two_certificates_of_one_author_count_once() -> None:
    graph = Graph([1] * 4, SEED)
    x: Ref = (digest_of(0), 1, 0)
    votes: list[Ref] = [(digest_of(1 + a), 2, a) for a in range(3)]
    graph.insert(fields(x), pack([]))
    for vote in votes:
        graph.insert(fields(vote), pack([x]))
    for i in range(2):
        graph.insert(g.Ref(3, 1, digest_of(10 + i)), pack(votes))
    assert graph.certificates(graph.find(x[0])) == (0b0010, 1)


def test_a_certificate_needs_the_equivocator_s_voting_vertex() -> None:
    graph = Graph([1] * 4, SEED)
    x: Ref = (digest_of(0), 1, 0)
    votes: list[Ref] = [(digest_of(1 + a), 2, a) for a in range(3)]
    twin: Ref = (digest_of(5), 2, 2)
    graph.insert(fields(x), pack([]))
    for vote in votes:
        graph.insert(fields(vote), pack([x]))
    graph.insert(fields(twin), pack([]))
    graph.insert(g.Ref(3, 0, digest_of(6)), pack([*votes[:2], twin]))
    assert graph.votes(graph.find(x[0])) == (0b0111, 3)
    assert graph.blames(1, 0) == (0b0100, 1)
    assert graph.certificates(graph.find(x[0])) == (0, 0)
    graph.insert(g.Ref(3, 1, digest_of(7)), pack(votes))
    assert graph.certificates(graph.find(x[0])) == (0b0010, 1)


def test_masks_reach_two_hundred_validators_and_heavy_stakes() -> None:
    stakes = [2**64 // 200 - 1] * 200
    graph = Graph(stakes, SEED)
    x: Ref = (digest_of(0), 1, 199)
    votes: list[Ref] = [(digest_of(1 + a), 2, a) for a in range(200)]
    graph.insert(fields(x), pack([]))
    for vote in votes:
        assert graph.insert(fields(vote), pack([x])).outcome == Outcome.INSERTED
    assert graph.votes(graph.find(x[0])) == (2**200 - 1, sum(stakes))
    graph.insert(g.Ref(3, 199, digest_of(300)), pack(votes))
    assert graph.certificates(graph.find(x[0])) == (1 << 199, stakes[199])
    assert graph.approval(graph.find(x[0])).stake == sum(stakes)


def test_memory_is_flat_over_a_million_inserts_with_gc() -> None:
    graph = Graph([1] * 4, SEED)
    per_round, rounds = 5000, 210
    rng = np.random.default_rng(1)
    before = np.empty(0, g.REF)
    sizes = []
    for r in range(1, rounds + 1):
        refs = np.empty(per_round, g.REF)
        refs["digest"] = rng.integers(0, 256, (per_round, 32), dtype=np.uint8)
        refs["round"], refs["author"] = r, OPERATOR
        parents = np.repeat(before, 2) if r > 1 else before
        offsets = np.arange(per_round + 1, dtype=np.uint64) * (2 if r > 1 else 0)
        parents[1::2] = np.roll(before, 1)
        outcomes = graph.insert_batch(refs, parents, offsets).outcomes
        assert not outcomes.any()
        graph.set_gc_round(max(0, r - 5))
        before = refs
        sizes.append(graph.memory_bytes)
    assert len(graph) == 5 * per_round
    assert len(set(sizes[10:])) == 1


def test_stale_handles_are_refused_and_rounds_are_bounded() -> None:
    graph = Graph([1] * 4, SEED, Limits(rounds=8, vertices=64, blocks=64, issuers=2))
    handle = graph.insert(g.Ref(1, 0, digest_of(0)), pack([])).handle
    assert graph.insert(g.Ref(1, 0, digest_of(0)), pack([])) == (Outcome.DUPLICATE, handle, ())
    assert graph.insert(g.Ref(0, 0, digest_of(1)), pack([])).outcome == Outcome.STALE
    assert graph.insert(g.Ref(8, 0, digest_of(1)), pack([])).outcome == Outcome.INSERTED
    assert graph.insert(g.Ref(9, 0, digest_of(2)), pack([])).outcome == Outcome.FAR
    assert graph.set_gc_round(1) == 1
    again = graph.insert(g.Ref(2, 0, digest_of(3)), pack([(digest_of(0), 1, 0)])).handle
    assert again != handle
    for ask in (graph.vertex, graph.parents, graph.children, graph.votes, graph.certificates, graph.approval):
        for bad in (handle, 0, 2**64 - 1, 63):
            with pytest.raises(ShapeError):
                ask(Handle(bad))
    for bad in (handle, 0):
        with pytest.raises(ShapeError):
            graph.is_reachable(again, Handle(bad))
        with pytest.raises(ShapeError):
            graph.order(Handle(bad), bytes(32))
        with pytest.raises(ShapeError):
            graph.certified_in_past(again, Handle(bad))
        with pytest.raises(ShapeError):
            graph.mark_committed(np.array([again, bad], np.uint64))
    assert not graph.vertex(again).committed
    with pytest.raises(ShapeError, match="sink"):
        graph.set_gc_round(0)
    assert graph.set_gc_round(2**32 - 1) == 2
    assert graph.insert(g.Ref(2**32 - 1, 0, digest_of(4)), pack([])).outcome == Outcome.STALE


def test_a_full_window_refuses_and_gc_makes_room() -> None:
    graph = Graph([1] * 4, SEED, Limits(rounds=8, vertices=3, blocks=1, issuers=2))
    refs: list[Ref] = [(digest_of(i), 1 + i, 0) for i in range(5)]
    assert graph.insert(fields(refs[0]), pack([])).outcome == Outcome.INSERTED
    assert graph.insert(fields(refs[1]), pack([refs[0]])).outcome == Outcome.INSERTED
    assert graph.insert(fields(refs[2]), pack([refs[1]])).outcome == Outcome.FULL  # no block
    assert graph.insert(fields(refs[2]), pack([])).outcome == Outcome.INSERTED
    assert graph.insert(fields(refs[3]), pack([])).outcome == Outcome.FULL
    graph.set_gc_round(2)
    assert graph.insert(fields(refs[3]), pack([refs[2]])).outcome == Outcome.INSERTED


def test_bad_vertices_are_invalid_and_bad_shapes_raise() -> None:
    graph = Graph([1] * 4, SEED, Limits(issuers=2))
    a: Ref = (digest_of(0), 1, 0)
    op: Ref = (digest_of(1), 1, OPERATOR)
    graph.insert(fields(a), pack([]))
    graph.insert(fields(op), pack([a]))
    cases = [
        (g.Ref(2, 4, digest_of(2)), [a]),  # no such validator
        (g.Ref(2, OPERATOR + 2, digest_of(2)), [a]),  # no such issuer
        (g.Ref(2, 0, digest_of(2)), [op, op]),  # a parent twice
        (g.Ref(2, 0, digest_of(2)), [a, (digest_of(9), 1, 0)]),  # two parents of one validator
        (g.Ref(1, 1, digest_of(2)), [a]),  # a parent not below it
        (g.Ref(1, OPERATOR, digest_of(2)), [(digest_of(3), 2, 0)]),
        (g.Ref(2, 0, digest_of(2)), [(digest_of(2), 1, 1)]),  # itself
        (g.Ref(2, 1, a[0]), []),  # a digest that stands for another vertex
        (g.Ref(2, 0, digest_of(2)), [(digest_of(3), 1, 77)]),
    ]
    for ref, parents in cases:
        assert graph.insert(ref, pack(parents)).outcome == Outcome.INVALID, (ref, parents)
    mismatched = graph.insert(g.Ref(3, 0, digest_of(2)), pack([(a[0], 2, 0)]))
    assert mismatched == (Outcome.MISSING, 0, (0,))
    with pytest.raises(ShapeError):
        graph.insert(g.Ref(2, 0, b"short"), pack([]))
    with pytest.raises(ShapeError):
        graph.insert(g.Ref(2, 0, digest_of(2)), pack([a] * 265))
    with pytest.raises(ShapeError):
        g.pack_refs([g.Ref(1, 0, b"short")])
    for offsets in ([0], [0, 2], [1, 1], [0, 0]):
        with pytest.raises(ShapeError):
            graph.insert_batch(pack([a]), pack([a]), np.array(offsets, np.uint64))
    with pytest.raises(ShapeError):
        graph.order(graph.find(a[0]), b"short")
    for ask in (graph.votes, graph.certificates):
        with pytest.raises(ShapeError):
            ask(graph.find(op[0]))
    with pytest.raises(ShapeError):
        graph.blames(1, 4)


def test_bad_sizes_are_refused() -> None:
    for stakes in ([], [1] * 201, [0, 0], [2**63, 2**63]):
        with pytest.raises(ShapeError):
            Graph(stakes, SEED)
    for limits in (Limits(rounds=3), Limits(rounds=48), Limits(vertices=0), Limits(blocks=0)):
        with pytest.raises(ShapeError):
            Graph([1], SEED, limits)
    with pytest.raises(ShapeError):
        Graph([1], b"short")
    with pytest.raises(ShapeError):
        g.operator(-1)


def test_refs_are_forty_bytes() -> None:
    assert g.REF.itemsize == dagindex.REF_BYTES == 40
