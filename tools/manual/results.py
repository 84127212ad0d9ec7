"""Kept results of measurements: their table and their plots."""

import json
from pathlib import Path
from typing import Any, Final

from cherrydag.bench.knee import Step
from cherrydag.bench.measurement import Result
from cherrydag.bench.plots import plot_knee, plot_timeline
from manual.markdown import code, table

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / "docs" / "results"
IMAGES: Final = ROOT / "docs" / "images"


def kept() -> dict[str, dict[str, Any]]:
    """The results of `tools/bench.py tps --json`, by name, of one rate each."""
    return {name: figures for name, figures in _all().items() if "steps" not in figures}


def searches() -> dict[str, dict[str, Any]]:
    """Those with --ramp."""
    return {name: figures for name, figures in _all().items() if "steps" in figures}


def _all() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def table_row(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    """One measurement."""
    latency = figures["latency_ms"]
    return (
        f"[{name}](images/{name}.png)",
        f"{figures['offered_rate']:,.0f}",
        f"{figures['final_rate']:,.0f}",
        f"{latency['p50']:,.0f}",
        f"{latency['p99']:,.0f}",
        f"{figures['api_p99_ms']:,.0f}",
        f"{figures['busy_cores']:.1f}",
        f"{figures['others_cores']:.1f}",
        f"{figures['stolen_cores']:.1f}" if "stolen_cores" in figures else "-",
        str(len(figures["failures"])),
    )


def table_of(results: dict[str, dict[str, Any]]) -> str:
    """A row for each."""
    head = (
        "run",
        "offered/s",
        "final/s",
        "p50 ms",
        "p99 ms",
        "API p99 ms",
        "cores",
        "others' cores",
        "stolen",
        "faults",
    )
    return table(head, [table_row(name, figures) for name, figures in results.items()])


def steps_of(figures: dict[str, Any]) -> list[Step]:
    """Of a search, by rate."""
    return sorted(Step(**step) for step in figures["steps"])


def table_of_search(name: str, figures: dict[str, Any]) -> str:
    """A row for each rate that was tried."""
    head = (f"[{name}](images/{name}.png), offered/s", "final/s", "p50 ms", "p99 ms", "CPU us", "taken")
    rows = [
        (
            *(f"{step.rate:,.0f}", f"{step.final_rate:,.0f}", f"{step.p50_ms:,.0f}", f"{step.p99_ms:,.0f}"),
            *(f"{step.cpu_us:.1f}", "yes" if step.is_good else "no"),
        )
        for step in steps_of(figures)
    ]
    return table(head, rows)


def plot_all() -> None:
    """A picture of each; needs matplotlib."""
    fields = Result.__dataclass_fields__
    for name, figures in kept().items():
        result = Result(**{field: figures[field] for field in fields if field in figures})
        plot_timeline(result, f"{name}: {figures['command']}", IMAGES / f"{name}.png")
    for name, figures in searches().items():
        title = f"{name}: {figures['command']}"
        plot_knee(steps_of(figures), figures["bound_ms"], title, IMAGES / f"{name}.png")


def runs() -> str:
    """The tables of all kept results, with the command of each."""
    commands = table(("run", "command"), [(name, code(one["command"])) for name, one in _all().items()])
    ramps = [table_of_search(name, figures) for name, figures in searches().items()]
    return "\n\n".join([table_of(kept()), *ramps, commands])
