"""What a world is asked to be: everything else is drawn from its seed."""

from dataclasses import dataclass
from typing import Final

from cherrydag.errors import ConfigError
from cherrydag.params import COMMITTEE_MAX

FAULTS: Final = (
    "loss",
    "duplicate",
    "reorder",
    "partition",
    "flap",
    "asymmetric",
    "crash",
    "blackout",
    "clock",
    "limits",
    "pause",
)

VALIDATOR_ADVERSARIES: Final = (
    "twins",
    "jumper",
    "withholder",
    "equivocator",
    "many_chains",
    "timestamps",
    "sync_liar",
    "malformed",
    "replayer",
)
NETWORK_ADVERSARIES: Final = ("leader_delay",)
OPERATOR_ADVERSARIES: Final = ("flooder", "parent_withholder", "seq_equivocator")
ADVERSARIES: Final = (*VALIDATOR_ADVERSARIES, *NETWORK_ADVERSARIES, *OPERATOR_ADVERSARIES)

_RANGES: Final = {
    "validators": (1, COMMITTEE_MAX),
    "byzantine": (0, COMMITTEE_MAX),
    "crashed": (0, COMMITTEE_MAX),
    "operators": (0, 64),
    "rounds": (1, 100_000),
    "loss": (0, 500),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One world. Raises ConfigError for a value out of range or more faulty validators than f.

    byzantine: validators with an adversary of `adversaries`, at most; crashed: validators that never start.
    faults: of FAULTS, until a drawn moment after which the network is good and clocks are right. operators:
    nodes that issue; some are adversaries if one of theirs is on. rounds: the world ends when every honest
    node is there. wan: ten regions instead of a lan. loss: permille of messages lost for ever.
    """

    seed: int
    validators: int = 4
    byzantine: int = 0
    crashed: int = 0
    faults: tuple[str, ...] = ()
    adversaries: tuple[str, ...] = ()
    operators: int = 0
    rounds: int = 200
    wan: bool = False
    loss: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name}: expected {low} to {high}, got {value}")
        for name, known in (("faults", FAULTS), ("adversaries", ADVERSARIES)):
            for value in getattr(self, name):
                if value not in known:
                    raise ConfigError(f"{name}: expected some of {', '.join(known)}, got {value}")
        faulty = (self.validators - 1) // 3
        if self.byzantine + self.crashed > faulty:
            wanted = f"at most {faulty} of {self.validators} validators"
            raise ConfigError(
                f"byzantine, crashed: expected {wanted}, got {self.byzantine} and {self.crashed}"
            )

    @property
    def command(self) -> str:
        """The command line that runs this world again."""
        words = [
            f"tools/simulate.py --seeds {self.seed}:{self.seed + 1} --validators {self.validators}",
            f"--byzantine {self.byzantine}" if self.byzantine else "",
            f"--crashed {self.crashed}" if self.crashed else "",
            f"--operators {self.operators}" if self.operators else "",
            f"--faults {','.join(self.faults) or 'none'}",
            f"--adversaries {','.join(self.adversaries) or 'none'}",
            f"--rounds {self.rounds}",
            f"--loss {self.loss}" if self.loss else "",
            "--wan" if self.wan else "",
        ]
        return " ".join(word for word in words if word)
