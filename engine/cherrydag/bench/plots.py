"""Pictures of measurements: PNG or SVG, by the file's suffix. matplotlib is needed, the extra `plot`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cherrydag.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cherrydag.bench.knee import Step
    from cherrydag.bench.measurement import Result

SUFFIXES = (".png", ".svg")

_BLUE, _ORANGE, _GREY, _RED = "#1f6fb2", "#d9730d", "#8a8a8a", "#c0392b"


def check_plot(path: Path) -> None:
    """ConfigError if a picture of this name cannot be made: ask before hours of measuring."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: expected a file that ends in {' or '.join(SUFFIXES)}")
    try:
        import matplotlib as _  # noqa: F401 - only whether it is there
    except ImportError:
        raise ConfigError("plots need matplotlib: pip install 'cherrydag[plot]'") from None


def plot_timeline(result: Result, title: str, path: Path) -> None:
    """Rate and latency, second by second; what is outside the window is shaded."""
    figure, (rates, latencies) = _axes(2)
    seconds = [row[0] + 0.5 for row in result.timeline]
    rates.plot(seconds, [row[1] for row in result.timeline], color=_GREY, linestyle="--", label="due")
    rates.plot(seconds, [row[2] for row in result.timeline], color=_BLUE, label="final")
    rates.set_ylabel("transfers / s")
    due = [row for row in result.timeline if row[4]]
    for column, colour, name in ((3, _BLUE, "p50"), (4, _ORANGE, "p99")):
        latencies.plot([row[0] + 0.5 for row in due], [row[column] for row in due], color=colour, label=name)
    latencies.set_ylabel("latency, ms\n(by the second it was due)")
    latencies.set_xlabel("seconds since the first transfer was due")
    begin_s, end_s = result.window_s
    last_s = len(result.timeline)
    for axes in (rates, latencies):
        axes.axvspan(0, begin_s, color=_GREY, alpha=0.15, linewidth=0)
        axes.axvspan(end_s, max(end_s, last_s), color=_GREY, alpha=0.15, linewidth=0)
        axes.set_xlim(0, max(end_s, last_s))
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right", framealpha=0.9)
    rates.set_title(title, fontsize=10)
    figure.savefig(path, dpi=130)


def plot_knee(steps: Sequence[Step], bound_ms: float, title: str, path: Path) -> None:
    """Latency against the offered rate; hollow points are rates that were too much."""
    figure, (latencies, rates) = _axes(2)
    ordered = sorted(steps, key=lambda step: step.rate)
    offered = [step.rate for step in ordered]
    for name, colour in (("p50_ms", _BLUE), ("p99_ms", _ORANGE)):
        values = [getattr(step, name) for step in ordered]
        latencies.plot(offered, values, color=colour, label=name.removesuffix("_ms"))
        for step, value in zip(ordered, values, strict=True):
            latencies.plot(step.rate, value, "o", color=colour, fillstyle="full" if step.is_good else "none")
    latencies.axhline(bound_ms, color=_RED, linestyle=":", label=f"bound, {bound_ms:g} ms")
    latencies.set_yscale("log")
    latencies.yaxis.set_major_formatter(_with_commas())
    latencies.yaxis.set_minor_formatter(_with_commas())
    latencies.set_ylabel("latency, ms")
    latencies.set_title(title, fontsize=10)
    rates.plot(offered, offered, color=_GREY, linestyle="--", label="offered")
    rates.plot(offered, [step.final_rate for step in ordered], "o-", color=_BLUE, label="final")
    rates.set_ylabel("final transfers / s")
    rates.set_xlabel("offered transfers / s")
    rates.set_ylim(bottom=0)
    for axes in (latencies, rates):
        axes.legend(loc="best", framealpha=0.9)
    figure.savefig(path, dpi=130)


def _axes(count: int) -> tuple[Any, Any]:
    """A figure that no window shows, with so many axes below each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2 * count), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(count, 1, sharex=True)
    for one in axes:
        one.grid(visible=True, color="#dddddd", linewidth=0.6)
        one.spines[["top", "right"]].set_visible(False)
        one.yaxis.set_major_formatter(_with_commas())
        one.xaxis.set_major_formatter(_with_commas())
    return figure, axes


def _with_commas() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:,.0f}")
