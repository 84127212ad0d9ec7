"""From a world that violates to a smaller one that violates the same invariant."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from cherrydag.errors import ConfigError
from cherrydag.sim.outcome import Outcome
from cherrydag.sim.scenario import Scenario

RunWorld = Callable[[Scenario], Outcome]

_SEEDS: Final = 4
"""Draws depend on the size of a world, so each smaller one is tried under a few seeds, its own first."""


def shrink(found: Outcome, run: RunWorld) -> Outcome:
    """The smallest world that this search comes to: no single step down from it still violates.

    found: an outcome with a violation. run: makes the outcome of a scenario.
    """
    smallest = found
    while (smaller := _first_smaller(smallest, run)) is not None:
        smallest = smaller
    return smallest


def _first_smaller(found: Outcome, run: RunWorld) -> Outcome | None:
    for candidate in _steps_down(found.scenario):
        for ahead in range(_SEEDS):
            outcome = run(replace(candidate, seed=candidate.seed + ahead))
            if _same(found, outcome):
                return outcome
    return None


def _same(found: Outcome, other: Outcome) -> bool:
    if found.violation is None or other.violation is None:
        return False
    return found.violation.invariant == other.violation.invariant


def _steps_down(scenario: Scenario) -> Iterator[Scenario]:
    """Every scenario that is one step smaller, the largest steps first."""
    for faults in _fewer(scenario.faults):
        yield replace(scenario, faults=faults)
    for adversaries in _fewer(scenario.adversaries):
        yield replace(scenario, adversaries=adversaries)
    for operators in _less(scenario.operators):
        yield replace(scenario, operators=operators)
    for byzantine in _less(scenario.byzantine):
        yield replace(scenario, byzantine=byzantine)
    for crashed in _less(scenario.crashed):
        yield replace(scenario, crashed=crashed)
    for loss in _less(scenario.loss):
        yield replace(scenario, loss=loss)
    if scenario.wan:
        yield replace(scenario, wan=False)
    for validators in (1, 4, 7, 10, scenario.validators - 3, scenario.validators - 1):
        if 1 <= validators < scenario.validators:
            yield from _with_validators(scenario, validators)
    for rounds in (scenario.rounds // 4, scenario.rounds // 2, scenario.rounds * 3 // 4, scenario.rounds - 1):
        if 1 <= rounds < scenario.rounds and (rounds < scenario.rounds - 1 or scenario.rounds <= 16):
            yield replace(scenario, rounds=rounds)


def _fewer(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """None of them, half of them, all but one."""
    if names:
        yield ()
    if len(names) > 1:
        half = len(names) // 2
        yield names[:half]
        yield names[half:]
    if len(names) > 2:
        for left_out in names:
            yield tuple(name for name in names if name != left_out)


def _less(value: int) -> list[int]:
    """Nothing, half of it, one less."""
    return sorted({0, value // 2, value - 1}) if value else []


def _with_validators(scenario: Scenario, validators: int) -> Iterator[Scenario]:
    """With as many Byzantine ones as fit."""
    faulty = (validators - 1) // 3
    byzantine = min(scenario.byzantine, faulty)
    crashed = min(scenario.crashed, faulty - byzantine)
    try:
        yield replace(scenario, validators=validators, byzantine=byzantine, crashed=crashed)
    except ConfigError:
        return
