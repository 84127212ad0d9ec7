"""What a node admits of transactions."""

from dataclasses import dataclass, field

from cherrydag.overload import OverloadLimits
from cherrydag.runtime.funding import FUNDING_MS


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """submissions_max: open at a time. fee_min: least fee that this node admits, if above the chain's.
    funding_ms: how long what cannot be paid for waits for its funds."""

    submissions_max: int = 1 << 16
    fee_min: int = 1
    funding_ms: int = FUNDING_MS
    overload: OverloadLimits = field(default_factory=OverloadLimits)
