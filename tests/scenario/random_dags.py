"""Random DAGs of valid vertices, and random orders in which a node may get to know them."""

import random
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from scenario.dag_dsl import Dag, Vertex

T = TypeVar("T")


def random_dag(
    rng: random.Random,
    stakes: Sequence[int],
    rounds: int,
    *,
    leader: Callable[[int], int],
    leader_chance: float = 1.0,
    absent_chance: float = 0.0,
    density: float = 0.0,
    equivocators: Sequence[int] = (),
) -> Dag:
    """Each round has vertices of a quorum at least, and each vertex lists its author's last one, then
    vertices of the round before up to a quorum or more of stake, then maybe older ones of the other authors.

    leader_chance: that a vertex lists the leader of the round before, unless the quorum needs it. density:
    how many of the others it lists beyond the quorum, 1 for all. absent_chance: that an author leaves a round
    out, up to f of stake. equivocators have one to three vertices a round; give them f of stake at most.
    """
    dag = Dag(len(stakes))
    total = sum(stakes)
    faulty = (total - 1) // 3
    newest = {author: [Vertex(0, author)] for author in range(len(stakes))}
    for number in range(1, rounds + 1):
        absent = _some_within(rng, stakes, faulty, absent_chance)
        before = leader(number - 1) if number > 1 else None
        made: dict[int, list[Vertex]] = {}
        for author in range(len(stakes)):
            if author in absent:
                continue
            count = rng.randint(1, 3) if author in equivocators else 1
            made[author] = [Vertex(number, author, variant) for variant in range(count)]
            for vertex in made[author]:
                own = rng.choice(newest[author])
                links = _links(
                    rng, stakes, total - faulty, vertex, own, newest, before, leader_chance, density
                )
                dag.add(vertex, tuple(links))
        newest |= made
    return dag


def _links(
    rng: random.Random,
    stakes: Sequence[int],
    quorum: int,
    vertex: Vertex,
    own: Vertex,
    newest: dict[int, list[Vertex]],
    leader: int | None,
    leader_chance: float,
    density: float,
) -> list[Vertex]:
    others = [rng.choice(slot) for author, slot in newest.items() if author != vertex.author]
    rng.shuffle(others)
    strong = [v for v in others if v.round == vertex.round - 1]
    weak = [v for v in others if v.round < vertex.round - 1 and rng.random() < 0.5]
    wanted = rng.random() < leader_chance
    strong.sort(key=lambda v: 0 if v.author != leader else -1 if wanted else 1)
    more = density + (1 - density) * rng.random()
    links = [own]
    stake = stakes[own.author] if own.round == vertex.round - 1 else 0
    for ancestor in strong:
        if stake < quorum or (rng.random() < more and (ancestor.author != leader or wanted)):
            links.append(ancestor)
            stake += stakes[ancestor.author]
    return links + weak


def _some_within(rng: random.Random, stakes: Sequence[int], budget: int, chance: float) -> list[int]:
    some = []
    for author in rng.sample(range(len(stakes)), len(stakes)):
        if stakes[author] <= budget and rng.random() < chance:
            budget -= stakes[author]
            some.append(author)
    return some


def causal_order(rng: random.Random, parents: Mapping[T, Sequence[T]], reach: int) -> list[T]:
    """The keys in a random order, parents first: each time one of the `reach` first that are ready.

    parents: of each key, in a causal order; those that are no keys count as known.
    """
    keys = list(parents)
    missing = {key: sum(parent in parents for parent in parents[key]) for key in keys}
    children: dict[T, list[int]] = {}
    for place, key in enumerate(keys):
        for parent in parents[key]:
            children.setdefault(parent, []).append(place)
    ready = [place for place, key in enumerate(keys) if not missing[key]]
    order = []
    while ready:
        chosen = keys[ready.pop(rng.randrange(min(reach, len(ready))))]
        order.append(chosen)
        for place in children.get(chosen, ()):
            missing[keys[place]] -= 1
            if not missing[keys[place]]:
                insort(ready, place)
    assert len(order) == len(keys), "parents form a cycle"
    return order
