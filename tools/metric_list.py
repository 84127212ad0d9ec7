#!/usr/bin/env python3
"""Write docs/metrics.md from the figures that the engine declares; --check says whether it is current."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    import _setup

    _setup.bootstrap()

from cherrydag.rpc.metrics import GROUPS
from cherrydag.rpc.metrics_process import STANDARD

FILE = Path(__file__).parents[1] / "docs" / "metrics.md"

_HEAD = """\
# Metrics

Every node serves these at `GET /metrics` of its API, in the text format of Prometheus. A scrape reads
counters that the parts keep anyway. Counters begin with the process. A gauge whose name ends in `_limit` is
the bound of the one before it. Alerts on them: `ops/prometheus/cherrydag.rules.yml`, explained in
[runbook.md](runbook.md); a dashboard: `ops/grafana/cherrydag.json`. This page is made by
`tools/metric_list.py`.
"""


def document() -> str:
    """The page."""
    parts = [_HEAD]
    for group in GROUPS:
        parts.append(f"## {group.title}\n")
        rows = [
            (family.full_name, family.kind.value, ", ".join(family.labels), family.text)
            for family in group.families
        ]
        parts.append(_table(rows))
    parts.append("## Of every process\n")
    kinds = {True: "counter", False: "gauge"}
    parts.append(
        _table([(name, kinds[name.endswith("_total")], "", text) for name, text in STANDARD.items()])
    )
    return "\n".join(parts)


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    lines = ["| name | kind | labels | meaning |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {kind} | {labels} | {text} |" for name, kind, labels, text in rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    """The exit code."""
    text = document()
    if "--check" in sys.argv[1:]:
        is_current = FILE.is_file() and FILE.read_text() == text
        print("current" if is_current else f"{FILE.name} is not current: run tools/metric_list.py")
        return 0 if is_current else 1
    FILE.write_text(text)
    print(FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
