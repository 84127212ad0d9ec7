"""When which transfers are due: fixed before the first is sent, whatever becomes of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag.errors import ConfigError

if TYPE_CHECKING:
    from cherrydag.transaction import Records

Lanes: TypeAlias = npt.NDArray[np.int64]
"""The lane of each transfer."""

RATE_MAX = 10_000_000
BATCH_MS_MAX = 10_000


class Due(NamedTuple):
    """Transfers that are due together. due_us: since the start. first, last: among those of the lane, last
    excluded."""

    due_us: int
    first: int
    last: int


def lanes_of(records: Records, lanes: int) -> Lanes:
    """Give all transfers of one sender to the same lane, so that its nonces come in order."""
    senders = np.ascontiguousarray(records["sender"]).view(np.dtype((np.void, 32))).reshape(-1)
    _, numbers = np.unique(senders, return_inverse=True)
    return numbers.astype(np.int64) % lanes


def schedule(lane_of: Lanes, lanes: int, rate: float, batch_ms: int) -> list[list[Due]]:
    """When each lane sends what. Transfer n of all belongs to the moment n / rate; those of batch_ms are due
    together, at its beginning, and the lanes take turns within it.

    ConfigError for a rate or batch_ms out of range.
    """
    if not 0 < rate <= RATE_MAX:
        raise ConfigError(f"rate: expected above 0 and at most {RATE_MAX} transfers/s, got {rate}")
    if not 1 <= batch_ms <= BATCH_MS_MAX:
        raise ConfigError(f"batch_ms: expected 1 to {BATCH_MS_MAX}, got {batch_ms}")
    step_us = batch_ms * 1000
    batches = (np.arange(len(lane_of)) * (1e6 / rate) / step_us).astype(np.int64)
    plans = []
    for lane in range(lanes):
        own = batches[lane_of == lane]
        cuts = [0, *(np.flatnonzero(own[1:] != own[:-1]) + 1).tolist(), len(own)] if len(own) else []
        offset_us = lane * step_us // lanes
        plans.append(
            [Due(int(own[first]) * step_us + offset_us, first, last) for first, last in pairwise(cuts)]
        )
    return plans


def parts(lane_of: Lanes, lanes: int, count: int) -> list[list[Due]]:
    """Each lane's transfers in parts of `count`, none of them due at any moment."""
    plans = []
    for lane in range(lanes):
        own = int(np.count_nonzero(lane_of == lane))
        plans.append([Due(0, first, min(own, first + count)) for first in range(0, own, count)])
    return plans
