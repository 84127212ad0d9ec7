"""A result as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cherrydag.bench.knee import Step
    from cherrydag.bench.measurement import Result


def lines(result: Result, settings: Mapping[str, Any], machine: Mapping[str, Any]) -> Iterator[str]:
    """The table of one measurement, with all that it was taken with."""
    begin_s, end_s = result.window_s
    latency = result.latency_ms
    yield from _pairs("machine", machine)
    yield from _pairs("settings", settings)
    yield ""
    yield f"steady state: seconds {begin_s:g} to {end_s:g} since the first transfer was due"
    yield f"  offered           {result.offered_rate:>12,.0f} /s"
    yield f"  final             {result.final_rate:>12,.0f} /s"
    names = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "max": "max"}
    told = "   ".join(f"{shown} {latency[name]:,.0f}" for name, shown in names.items())
    yield f"  latency ms        {told}   (from the moment a transfer was due until its submitter knows)"
    told = f"p50 {result.api_p50_ms:.1f}   p99 {result.api_p99_ms:.1f}   max {result.api_max_ms:.1f}"
    yield f"  API ms            {told}   ({result.api_calls:,} calls meanwhile, {result.api_failed} failed)"
    told = f"p50 {result.scrape_p50_ms:.1f}   p90 {result.scrape_p90_ms:.1f}   max {result.scrape_max_ms:.1f}"
    yield f"  scrapes ms        {told}   ({result.scrapes:,} of /metrics, {result.scrapes_failed} failed)"
    yield f"  commits, rounds   {result.commits_per_s:g} /s, {result.rounds_per_s:g} /s"
    yield f"  syncs             {_joined(result.syncs_per_s)} /s"
    yield f"  on the wire       {result.wire_bytes:,.0f} bytes a transfer, all links, before TLS"
    yield f"  to disk           {result.disk_bytes:,.0f} bytes a transfer, all nodes"
    yield f"  CPU us a transfer {_joined(result.cpu_us)}"
    for name, threads in result.threads_us.items():
        shown = ", ".join(
            f"{thread} {run:g} (waited {queued:g})" for thread, (run, queued) in threads.items()
        )
        yield f"    {name:15} {shown}"
    told = f"{result.busy_cores:g} used by all of it, {result.others_cores:g} by others"
    yield f"  cores             {told}, {result.stolen_cores:g} taken by other guests of the host"
    yield f"  resident MiB      {_joined(result.rss_mib)}"
    yield ""
    yield f"transfers: {_joined(result.transfers)}"
    plain = {name: value for name, value in result.answers.items() if isinstance(value, int)}
    yield f"answers: {_joined(plain)}"
    yield from (f"note: {note}" for note in result.notes)
    yield from (f"FAILED: {failure}" for failure in result.failures)
    if not result.failures:
        taken = " that were taken" if result.answers.get("given_up") else ""
        yield f"all transfers{taken} are final and applied, and the nodes agree"


def knee_lines(steps: Sequence[Step], best: Step | None, bound_ms: float) -> Iterator[str]:
    """The table of a search for the knee."""
    yield f"{'offered/s':>10} {'final/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>8}"
    for step in sorted(steps, key=lambda step: step.rate):
        verdict = "" if step.is_good else "  too much"
        yield (
            f"{step.rate:>10,.0f} {step.final_rate:>10,.0f} {step.p50_ms:>8,.0f} {step.p99_ms:>8,.0f} "
            f"{step.cpu_us:>8.1f}{verdict}"
        )
    if best is None:
        yield f"no rate was taken within {bound_ms:g} ms"
    else:
        yield f"knee: {best.rate:,.0f} transfers/s at p99 {best.p99_ms:,.0f} ms (bound {bound_ms:g} ms)"


def _pairs(title: str, values: Mapping[str, Any]) -> Iterator[str]:
    yield f"{title}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def _joined(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in values.items())
