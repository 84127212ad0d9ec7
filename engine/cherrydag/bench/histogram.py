"""Latencies in a fixed number of buckets, each as wide as the same small part of what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from cherrydag.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping

Counts: TypeAlias = npt.NDArray[np.int64]

SUB_BITS: Final = 7
"""A power of two is cut into 2^7 buckets: a value is known to one part in 128."""

VALUE_BITS: Final = 40
"""Largest value: 2^40 - 1 microseconds, twelve days. Larger ones count as that."""

_SUB: Final = 1 << SUB_BITS
_BUCKETS: Final = (VALUE_BITS - SUB_BITS + 1) * _SUB


class Histogram:
    """How often which latency occurred, in microseconds. least, most: exact."""

    def __init__(self) -> None:
        self._counts: Counts = np.zeros(_BUCKETS, np.int64)
        self.least = 0
        self.most = 0
        self._sum = 0

    @property
    def count(self) -> int:
        """Of all values."""
        return int(self._counts.sum())

    @property
    def mean(self) -> float:
        """Exact; 0 if there is nothing."""
        return self._sum / max(1, self.count)

    def record(self, values_us: Counts, counts: Counts) -> None:
        """Add values, each so many times. Negative ones count as 0. ShapeError if the lengths disagree."""
        if values_us.shape != counts.shape or values_us.ndim != 1:
            raise ShapeError(f"histogram: values of shape {values_us.shape}, counts of {counts.shape}")
        values, counts = values_us[counts > 0], counts[counts > 0]
        if not values.size:
            return
        values = np.clip(values, 0, (1 << VALUE_BITS) - 1)
        least, most = int(values.min()), int(values.max())
        self.least = min(self.least, least) if self.count else least
        self.most = max(self.most, most)
        self._sum += int((values * counts).sum())
        self._counts += np.bincount(_bucket(values), counts, _BUCKETS).astype(np.int64)

    def merge(self, other: Histogram) -> None:
        """Add what another one has."""
        if other.count:
            self.least = min(self.least, other.least) if self.count else other.least
            self.most = max(self.most, other.most)
            self._sum += other._sum
            self._counts += other._counts

    def quantile(self, share: float) -> int:
        """The least value, but for the width of its bucket, that so much of all does not pass; 0 if there is
        nothing."""
        total = self.count
        if not total:
            return 0
        rank = min(total, max(1, int(np.ceil(share * total))))
        at = int(np.searchsorted(np.cumsum(self._counts), rank))
        return min(self.most, max(self.least, _upper(at)))

    # As JSON

    def as_dict(self) -> dict[str, Any]:
        """All of it; buckets by their upper ends, as text."""
        used = np.flatnonzero(self._counts).tolist()
        return {
            "least_us": self.least,
            "most_us": self.most,
            "sum_us": self._sum,
            "counts": {str(_upper(at)): int(self._counts[at]) for at in used},
        }

    @classmethod
    def of_dict(cls, form: Mapping[str, Any]) -> Self:
        """What as_dict gave."""
        made = cls()
        uppers = np.array([int(upper) for upper in form["counts"]], np.int64)
        if uppers.size:
            made._counts[_bucket(uppers)] = list(form["counts"].values())
        made.least, made.most, made._sum = form["least_us"], form["most_us"], form["sum_us"]
        return made


def _bucket(values: Counts) -> Counts:
    """The number of each value's bucket: below 2^7 its own, above by its highest eight bits."""
    _, exponents = np.frexp(values.astype(np.float64))  # exact: values have fewer than 53 bits
    shifts = np.maximum(exponents.astype(np.int64) - SUB_BITS - 1, 0)
    numbers: Counts = shifts * _SUB + (values >> shifts)
    return numbers


def _upper(bucket: int) -> int:
    """The largest value of a bucket."""
    shift = max(0, bucket // _SUB - 1)
    return ((bucket - shift * _SUB + 1) << shift) - 1
