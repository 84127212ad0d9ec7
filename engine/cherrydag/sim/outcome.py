"""What a world leaves: a value that goes between the processes of a campaign."""

from dataclasses import dataclass

from cherrydag.sim.scenario import Scenario
from cherrydag.sim.violation import Violation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a world. violation: the first invariant that broke, if one did.

    rounds: that every honest node has reached. commits: of the longest honest chain. latencies_us: of honest
    validators' vertices, from creation to execution at their author. gaps_us: between one node's commits.
    faults: how many of each the world has suffered.
    """

    scenario: Scenario
    violation: Violation | None
    rounds: int
    commits: int
    latencies_us: tuple[int, ...]
    gaps_us: tuple[int, ...]
    deliveries: int
    events: int
    virtual_us: int
    faults: dict[str, int]
    event_hash: str
