"""Mistakes that the suite must find, for mutants.py: a text to replace, and what then has to fail.

Each is one that an engineer could make and that costs safety or liveness. Numbers in the descriptions are
sections of the consensus design.
"""

from typing import Final

from mutant_list.acceptance import ACCEPTANCE
from mutant_list.commit_rule import COMMIT_RULE
from mutant_list.engine import ENGINE
from mutant_list.gossip import GOSSIPING
from mutant_list.main_chain import MAIN_CHAIN
from mutant_list.mutant import Mutant
from mutant_list.proposing import PROPOSING
from mutant_list.validity import VALIDITY

SECTIONS: Final[dict[str, tuple[Mutant, ...]]] = {
    "the commit rule": COMMIT_RULE,
    "the main chain": MAIN_CHAIN,
    "what may enter the DAG": ACCEPTANCE,
    "our own vertices": PROPOSING,
    "what waits for a write, and the engine's wiring": ENGINE,
    "fetch, commit sync, answers and their wiring": GOSSIPING,
    "a vertex alone": VALIDITY,
}

__all__ = ["SECTIONS", "Mutant"]
