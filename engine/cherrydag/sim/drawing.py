"""A world's DAG as SVG: a lane for each author, rounds from left to right, the main chain on top."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from cherrydag.consensus.leader import leader_of
from cherrydag.primitives import Digest, Round
from cherrydag.refs import OperatorRef, round_of
from cherrydag.sim.chain_checks import parents_of
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

if TYPE_CHECKING:
    from cherrydag.sim.world import World

ROUNDS_MAX: Final = 400
"""Widest drawing."""

_COLUMN: Final = 44
_LANE: Final = 40
_LEFT: Final = 96
_TOP: Final = 44
_LEGEND: Final = 56

_STYLE: Final = """
svg { --paper: #ffffff; --ink: #24292f; --edge: #8c959f; --lane: #eaeef2; --plain: #ffffff;
  --done: #54aeff; --chain: #bf8700; --bad: #cf222e; --skip: #8250df; --op: #2da44e; }
@media (prefers-color-scheme: dark) { svg { --paper: #0d1117; --ink: #e6edf3; --edge: #6e7681;
  --lane: #1c2128; --plain: #0d1117; --done: #1f6feb; --chain: #e3b341; --bad: #ff7b72;
  --skip: #bc8cff; --op: #3fb950; } }
text { font: 12px system-ui, sans-serif; fill: var(--ink); } .paper { fill: var(--paper); }
.lane { stroke: var(--lane); stroke-width: 20; } .edge { stroke: var(--edge); stroke-width: 0.8;
  opacity: 0.55; fill: none; } .weak { stroke-dasharray: 3 3; } .tip { stroke: var(--op); }
.vertex { stroke: var(--ink); stroke-width: 1.2; fill: var(--plain); } .done { fill: var(--done); }
.operator { stroke: var(--op); stroke-width: 2; } .twin { stroke: var(--bad); stroke-width: 2.4; }
.leader { stroke: var(--chain); stroke-width: 3; } .chain { stroke: var(--chain); stroke-width: 4;
  fill: none; opacity: 0.75; } .skipped { stroke: var(--skip); stroke-width: 2.4; fill: none; }
"""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn. lanes: names, validators' first, then operators'. places: lane of an author or issuer.

    committed: index of the commit that holds a vertex. leaders: lane of each round's leader. chain: committed
    leaders, by round. skipped: rounds without one, below the last.
    """

    first: int
    last: int
    validators: int
    lanes: tuple[str, ...]
    places: dict[object, int]
    vertices: tuple[Vertex, ...]
    committed: dict[Digest, int]
    leaders: dict[int, int]
    chain: dict[int, Digest]

    @classmethod
    def of(cls, world: "World", first: int, last: int) -> "Drawing":
        """Rounds first..last of a world that has run, as its honest nodes have seen them."""
        agreement, n = world.checks.agreement, world.scenario.validators
        last = min(last, first + ROUNDS_MAX - 1)
        places: dict[object, int] = {seat: seat for seat in range(n)}
        lanes = [_name(world, seat) for seat in range(world.seats)]
        for seat in range(n, world.seats):
            places[world.hosts[seat].signer.public_key] = seat
        known = world.checks.registry.vertices.values()
        shown = tuple(vertex for vertex in known if first <= round_of(vertex.ref) <= last)
        commits = [commit for _, commit in agreement.commits if commit is not None]
        return cls(
            first=first,
            last=last,
            validators=n,
            lanes=tuple(lanes),
            places=places,
            vertices=tuple(vertex for vertex in shown if _author(vertex) in places),
            committed={ref.digest: commit.index for commit in commits for ref in commit.vertices},
            leaders={
                round_: leader_of(world.committee, Round(round_), agreement.table_at(round_))
                for round_ in range(max(1, first), min(last, agreement.leader_rounds[-1]) + 1)
            },
            chain={commit.leader.round: commit.leader.digest for commit in commits},
        )


def draw(drawing: Drawing) -> str:
    """The SVG."""
    spots = _spots(drawing)
    width = _LEFT + (drawing.last - drawing.first + 1) * _COLUMN + 24
    bottom = _TOP + len(drawing.lanes) * _LANE + (24 if len(drawing.lanes) > drawing.validators else 0)
    size = f'width="{width}" height="{bottom + _LEGEND}" viewBox="0 0 {width} {bottom + _LEGEND}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>DAG, rounds {drawing.first} to {drawing.last}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{bottom + _LEGEND}"/>',
        *_frame(drawing, width),
        *_edges(drawing, spots),
        *_main_chain(drawing, spots),
        *_skipped(drawing),
        *_vertices(drawing, spots),
        *_legend(bottom),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _name(world: "World", seat: int) -> str:
    role = world.plan.cast.get(seat, "crashed" if seat in world.plan.crashed else "")
    n = world.scenario.validators
    label = f"V{seat}" if seat < n else f"O{seat - n}"
    return f"{label} {role.replace('_', ' ')}".strip()


def _author(vertex: Vertex) -> object:
    return vertex.issuer if isinstance(vertex, OperatorVertex) else vertex.author


def _at(drawing: Drawing, round_: int, lane: int) -> tuple[float, float]:
    gap = 24 if lane >= drawing.validators else 0
    return _LEFT + (round_ - drawing.first + 0.5) * _COLUMN, _TOP + (lane + 0.5) * _LANE + gap


def _spots(drawing: Drawing) -> dict[Digest, tuple[float, float]]:
    """Where each vertex is drawn; those of one author and round side by side."""
    groups: dict[tuple[int, int], list[Digest]] = {}
    for vertex in drawing.vertices:
        groups.setdefault((round_of(vertex.ref), drawing.places[_author(vertex)]), []).append(vertex.digest)
    spots = {}
    for (round_, lane), digests in groups.items():
        x, y = _at(drawing, round_, lane)
        for place, digest in enumerate(sorted(digests)):
            shift = place - (len(digests) - 1) / 2
            spots[digest] = (x + shift * min(9, 30 / len(digests)), y + shift * 5)
    return spots


def _frame(drawing: Drawing, width: int) -> Iterator[str]:
    for lane, name in enumerate(drawing.lanes):
        _, y = _at(drawing, drawing.first, lane)
        yield f'<line class="lane" x1="{_LEFT}" y1="{y}" x2="{width - 12}" y2="{y}"/>'
        yield f'<text x="8" y="{y + 4}">{escape(name)}</text>'
    step = max(1, (drawing.last - drawing.first + 1) // 40)
    for round_ in range(drawing.first, drawing.last + 1, step):
        x, _ = _at(drawing, round_, 0)
        yield f'<text x="{x}" y="{_TOP - 14}" text-anchor="middle">{round_}</text>'


def _edges(drawing: Drawing, spots: dict[Digest, tuple[float, float]]) -> Iterator[str]:
    for vertex in drawing.vertices:
        x, y = spots[vertex.digest]
        for ref in parents_of(vertex):
            target = spots.get(ref.digest)
            if target is None:
                continue
            kind = "edge"
            if isinstance(vertex, OperatorVertex) or isinstance(ref, OperatorRef):
                kind += " tip"
            elif round_of(ref) + 1 < vertex.round:
                kind += " weak"
            ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{target[0]:.1f}" y2="{target[1]:.1f}"'
            yield f'<line class="{kind}" {ends}/>'


def _main_chain(drawing: Drawing, spots: dict[Digest, tuple[float, float]]) -> Iterator[str]:
    points = [spots[digest] for _, digest in sorted(drawing.chain.items()) if digest in spots]
    if len(points) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<polyline class="chain" points="{path}"><title>main chain</title></polyline>'


def _skipped(drawing: Drawing) -> Iterator[str]:
    for round_, lane in drawing.leaders.items():
        if round_ not in drawing.chain:
            x, y = _at(drawing, round_, lane)
            title = f"<title>round {round_}: leader {escape(drawing.lanes[lane])} skipped</title>"
            yield f'<path class="skipped" d="M{x - 12} {y - 12}l24 24m0 -24l-24 24">{title}</path>'


def _vertices(drawing: Drawing, spots: dict[Digest, tuple[float, float]]) -> Iterator[str]:
    counts: dict[tuple[int, object, int], int] = {}
    for vertex in drawing.vertices:
        counts[_slot(vertex)] = counts.get(_slot(vertex), 0) + 1
    leaders = set(drawing.chain.values())
    for vertex in drawing.vertices:
        x, y = spots[vertex.digest]
        index = drawing.committed.get(vertex.digest)
        kinds = ["vertex"]
        kinds += ["done"] if index is not None else []
        kinds += ["operator"] if isinstance(vertex, OperatorVertex) else []
        kinds += ["twin"] if counts[_slot(vertex)] > 1 else []
        kinds += ["leader"] if vertex.digest in leaders else []
        title = _title(drawing, vertex, index, equivocates=counts[_slot(vertex)] > 1)
        kind = " ".join(kinds)
        if isinstance(vertex, OperatorVertex):
            corner = f'x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"'
            yield f'<rect class="{kind}" {corner}><title>{title}</title></rect>'
        else:
            yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="7"><title>{title}</title></circle>'


def _slot(vertex: Vertex) -> tuple[int, object, int]:
    if isinstance(vertex, ValidatorVertex):
        return vertex.round, vertex.author, -1
    return 0, vertex.issuer, vertex.seq


def _title(drawing: Drawing, vertex: Vertex, index: int | None, *, equivocates: bool) -> str:
    lane = drawing.lanes[drawing.places[_author(vertex)]]
    fate = f"commit {index}" if index is not None else "not committed"
    words = [f"{lane}, round {round_of(vertex.ref)}", vertex.digest.hex()[:12], fate]
    words.append(f"{len(parents_of(vertex))} parents, {len(vertex.payload)} transactions")
    if equivocates:
        words.append("equivocation")
    return escape("; ".join(words))


def _legend(bottom: int) -> Iterator[str]:
    y = bottom + 28
    marks = (
        ('<circle class="vertex" cx="{x}" cy="{y}" r="7"/>', "vertex"),
        ('<circle class="vertex done" cx="{x}" cy="{y}" r="7"/>', "committed"),
        ('<circle class="vertex done leader" cx="{x}" cy="{y}" r="7"/>', "committed leader, main chain"),
        ('<path class="skipped" d="M{x} {y}m-7 -7l14 14m0 -14l-14 14"/>', "skipped leader"),
        ('<circle class="vertex twin" cx="{x}" cy="{y}" r="7"/>', "equivocation"),
        ('<path class="vertex operator" d="M{x} {y}m-5 -5h10v10h-10z"/>', "operator's"),
    )
    x = 20
    for mark, label in marks:
        yield mark.format(x=x, y=y)
        yield f'<text x="{x + 14}" y="{y + 4}">{label}</text>'
        x += 44 + 7 * len(label)
