"""A batch is looked up in groups of 64 references: whatever falls on their edges, nothing changes."""

import numpy as np
import pytest
from reference.dag_reference import INVALID, OPERATOR, Ref, ReferenceDag

from cherrydag.dag.graph import PARENTS_MAX, REF, Graph, Limits

WIDE = [0, 1, 61, 62, 63, 64, 65, 126, 127, PARENTS_MAX - 1, PARENTS_MAX]


def named(i: int) -> bytes:
    return i.to_bytes(32, "little")


def pack(refs: list[Ref]) -> np.ndarray:
    return np.array([(np.frombuffer(d, np.uint8), r, a) for d, r, a in refs], REF)


def insert_both(graph: Graph, reference: ReferenceDag, batch: list[tuple[Ref, list[Ref]]]) -> list[int]:
    """One native call for the batch beside the reference one by one; return the outcomes."""
    offsets = np.cumsum([0] + [len(parents) for _, parents in batch], dtype=np.uint64)
    packed = pack([ref for ref, _ in batch]), pack([p for _, parents in batch for p in parents])
    got = graph.insert_batch(*packed, offsets)
    for i, (ref, parents) in enumerate(batch):
        outcome, missing = reference.insert(ref, parents)
        assert got.outcomes[i] == outcome
        assert np.flatnonzero(got.missing[offsets[i] : offsets[i + 1]]).tolist() == missing
        assert got.handles[i] == (graph.find(ref[0]) if outcome <= 1 else 0)
    return got.outcomes.tolist()


@pytest.mark.parametrize("gc_round", [0, 1])
@pytest.mark.parametrize("seed", range(6))
def test_vertices_of_any_width_in_one_batch_equal_the_reference(seed: int, gc_round: int) -> None:
    rng = np.random.default_rng(seed)
    graph, reference = Graph([1] * 4, bytes(16), Limits(issuers=4)), ReferenceDag([1] * 4, issuers_max=4)
    base: list[Ref] = [(named(i), 1, OPERATOR + i % 4) for i in range(PARENTS_MAX + 1)]
    insert_both(graph, reference, [(ref, []) for ref in base])
    assert graph.set_gc_round(gc_round) == reference.set_gc_round(gc_round)
    batch: list[tuple[Ref, list[Ref]]] = []
    for i in range(60):
        width = int(rng.choice(WIDE) if rng.random() < 0.4 else rng.integers(0, 9))
        earlier = [ref for ref, _ in batch[-8:]] + [(named(10_000 + i), 2, OPERATOR)] * (i % 7 == 0)
        pool = earlier + [base[k] for k in rng.permutation(len(base))]
        ref = batch[-1][0] if i % 11 == 10 else (named(1000 + i), 2 + i // 30, OPERATOR + i % 4)
        batch.append((ref, pool[:width]))
    batch.insert(30, ((named(5000), 2, OPERATOR), [*base, base[0]]))
    outcomes = insert_both(graph, reference, batch)
    assert outcomes[30] == INVALID
    assert set(outcomes) >= {0, 2, 6}
    assert len(graph) == len(reference.vertices)


def test_a_vertex_one_parent_too_wide_costs_its_neighbours_nothing() -> None:
    base: list[Ref] = [(named(i), 1, OPERATOR) for i in range(PARENTS_MAX + 1)]
    for place in range(4):
        graph, reference = Graph([1], bytes(16), Limits(issuers=1)), ReferenceDag([1], issuers_max=1)
        insert_both(graph, reference, [(ref, []) for ref in base])
        batch: list[tuple[Ref, list[Ref]]] = [((named(1000 + i), 2, OPERATOR), base[:2]) for i in range(3)]
        batch.insert(place, ((named(2000), 2, OPERATOR), base))
        outcomes = insert_both(graph, reference, batch)
        assert outcomes == [INVALID if i == place else 0 for i in range(4)]


@pytest.mark.parametrize("count", [31, 32, 33, 64, 65])
def test_gc_drops_rounds_of_any_width_around_its_groups(count: int) -> None:
    graph, reference = Graph([1], bytes(16), Limits(issuers=1)), ReferenceDag([1], issuers_max=1)
    first: list[Ref] = [(named(i), 1, OPERATOR) for i in range(count)]
    second: list[Ref] = [(named(1000 + i), 2, OPERATOR) for i in range(count)]
    insert_both(graph, reference, [(ref, []) for ref in first])
    insert_both(graph, reference, [(ref, [first[i], first[i - 1]]) for i, ref in enumerate(second)])
    assert graph.set_gc_round(1) == reference.set_gc_round(1) == count
    assert [graph.find(ref[0]) for ref in first] == [None] * count
    handles = [graph.find(ref[0]) for ref in second]
    assert None not in handles
    assert [graph.parents(handle).tolist() for handle in handles if handle] == [[]] * count
    insert_both(graph, reference, [((named(2000), 3, OPERATOR), second[:8])])
