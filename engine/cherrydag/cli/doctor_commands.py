"""The command that looks at all a node needs: `cherrydag doctor`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cherrydag.cli.exits import Exit
from cherrydag.cli.options import PATH, json_option
from cherrydag.cli.output import plain, print_json

if TYPE_CHECKING:
    from cherrydag.cli.doctor.findings import Finding

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.argument("folder", metavar="[DIR]", type=PATH, required=False)
@json_option
@click.pass_context
def doctor(context: click.Context, folder: Path | None, as_json: bool) -> None:
    """Look at all that the node in DIR needs, and say what to do about what is missing.

    Settings, keys and their modes, genesis, sign-state, clock, disk, ports, processor, memory, limits, peers
    and versions; of the machine alone without DIR. Nothing is changed, and it may run beside the node. It
    ends in three seconds, with exit code 10 if something fails.
    """
    from cherrydag.cli.doctor.examination import examine
    from cherrydag.cli.doctor.findings import Level, worst

    begun_s = time.monotonic()
    findings = examine(folder)
    level = worst(findings)
    if as_json:
        print_json(document(findings, int(1000 * (time.monotonic() - begun_s))))
    else:
        _print(findings)
    if level is Level.FAIL:
        context.exit(Exit.UNHEALTHY)


def document(findings: list["Finding"], took_ms: int) -> dict[str, object]:
    """An examination as JSON has it."""
    from cherrydag.cli.doctor.findings import worst

    return {
        "level": worst(findings).label,
        "took_ms": took_ms,
        "findings": [
            {"topic": one.topic, "level": one.level.label, "words": one.words, "advice": one.advice}
            for one in findings
        ],
    }


def _print(findings: list["Finding"]) -> None:
    width = max(len(finding.topic) for finding in findings)
    for finding in findings:
        label = click.style(f"{finding.level.label:<4}", fg=_COLORS[finding.level.label])
        click.echo(f"{label}  {finding.topic:<{width}}  {plain(finding.words)}")
        if finding.advice:
            click.echo(f"{'':<{width + 8}}{plain(finding.advice)}")
    counts = [sum(one.level.label == label for one in findings) for label in _COLORS]
    click.echo(f"{counts[0]} ok, {counts[1]} to look at, {counts[2]} to mend")
