"""Drawings of real runs: worlds of the simulator, drawn as tools/simulate.py --svg draws them."""

from pathlib import Path
from typing import Final, NamedTuple

from cherrydag.sim.drawing import Drawing, draw
from cherrydag.sim.scenario import Scenario
from cherrydag.sim.world import World

IMAGES: Final = Path(__file__).resolve().parents[2] / "docs" / "images"


class Shown(NamedTuple):
    """A world, and which of its rounds are drawn."""

    scenario: Scenario
    first: int
    last: int

    @property
    def command(self) -> str:
        """What draws the same by hand, less the file's name."""
        return f"python3 {self.scenario.command} --svg FILE --svg-rounds {self.first}:{self.last}"


DRAWINGS: Final = {
    "dag-calm": Shown(Scenario(3, rounds=22), 1, 18),
    "dag-crashed": Shown(Scenario(1, crashed=1, rounds=24), 1, 18),
    "dag-operator": Shown(Scenario(3, operators=2, rounds=22), 1, 18),
    "dag-equivocator": Shown(Scenario(0, byzantine=1, adversaries=("equivocator",), rounds=24), 1, 18),
}
"""By the name of the file."""


def drawn(shown: Shown) -> str:
    """The SVG."""
    world = World(shown.scenario)
    world.run()
    return draw(Drawing.of(world, shown.first, shown.last))


def draw_all() -> None:
    """Write all of them."""
    IMAGES.mkdir(exist_ok=True)
    for name, shown in DRAWINGS.items():
        (IMAGES / f"{name}.svg").write_text(drawn(shown))
