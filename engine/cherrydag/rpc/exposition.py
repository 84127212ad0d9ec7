"""Figures as lines of Prometheus' text format, version 0.0.4.

Ours, since the library takes several times as long, on the thread of the loop; a test holds it to the other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def head(name: str, kind: str, text: str) -> str:
    """What stands before a family's samples. text: one line, without a backslash."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def sample(name: str, value: float, labels: Iterable[tuple[str, str]] = ()) -> str:
    """A line. labels: names and values."""
    told = ",".join([f'{label}="{_escaped(text)}"' for label, text in labels])
    return f"{name}{{{told}}} {_number(value)}\n" if told else f"{name} {_number(value)}\n"


def histogram(name: str, buckets: Sequence[tuple[str, float]], total: float) -> Iterator[str]:
    """Its lines. buckets: bound and how many are at or below it, ascending, the last "+Inf". total: of the
    values."""
    for bound, count in buckets:
        yield f'{name}_bucket{{le="{bound}"}} {_number(count)}\n'
    yield sample(f"{name}_count", buckets[-1][1])
    yield sample(f"{name}_sum", total)


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
