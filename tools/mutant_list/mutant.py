"""What a mutant is, and where the files lie that mutants change."""

from dataclasses import dataclass
from typing import Final

CONSENSUS: Final = "engine/cherrydag/consensus"
DAG: Final = "engine/cherrydag/dag"
GOSSIP: Final = "engine/cherrydag/gossip"
INDEX: Final = "ext/dagindex"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake. breaks: what is wrong with it. file: from the checkout's root; `old` is in it once and
    gives way to `new`. killer: tests, or a tool with its arguments, that pass without it and fail with it.
    """

    name: str
    breaks: str
    file: str
    old: str
    new: str
    killer: str

    @property
    def module(self) -> str:
        """The native module that has to be built anew; empty if none."""
        top, folder, *_ = self.file.split("/")
        return folder if top == "ext" else ""
