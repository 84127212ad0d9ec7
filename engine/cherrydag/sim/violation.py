"""What a checker says when an invariant breaks."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Violation:
    """invariant: its name in the consensus document (I1 to I15), or "node" if production code gave up."""

    invariant: str
    statement: str
    facts: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={_shown(value)}" for name, value in self.facts.items())
        return f"{self.invariant}: {self.statement}{': ' + facts if facts else ''}"


class ViolationError(Exception):
    """Ends the world."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


def must(condition: bool, invariant: str, statement: str, **facts: object) -> None:
    """Raise ViolationError if `condition` is false. statement: what must hold."""
    if not condition:
        raise ViolationError(Violation(invariant, statement, facts))


def _shown(value: object) -> str:
    return value.hex()[:16] if isinstance(value, bytes) else repr(value)
