"""Every case of every part: importing this module registers them all."""

import consensus_cases  # noqa: F401
import index_cases  # noqa: F401
import ledger_cases  # noqa: F401
import mempool_cases  # noqa: F401
import net_cases  # noqa: F401
import state_cases  # noqa: F401
import storage_cases  # noqa: F401
from cases import CASES, SEED, Case, Prepared, nothing

__all__ = ["CASES", "SEED", "Case", "Prepared", "nothing"]
