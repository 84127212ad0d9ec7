"""Commands about the database of a ledger: `cherrydag db`, and `backup`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cherrydag.cli.exits import Exit
from cherrydag.cli.options import PATH, folder_argument, json_option
from cherrydag.cli.output import bytes_text, note, print_fields, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from cherrydag.storage.check import CheckReport, Finding

_SHOWN_MAX: Final = 50
"""Findings that are shown to people; programs get them all."""


@click.group()
def db() -> None:
    """Check, measure, repair and export a database.

    Nobody else may have the ledger open.
    """


# Check


@db.command()
@folder_argument
@json_option
def check(folder: Path, as_json: bool) -> int:
    """Read everything there is, and name what is damaged and how it can be repaired.

    Exit code 4 if anything is.
    """
    from cherrydag.cli.checking import check_folder

    with progress_bar("checking", hidden=as_json) as progress:
        report = check_folder(folder, progress)
    if as_json:
        print_json(_document(report))
    else:
        _print_report(report)
    return Exit.OK if report.is_sound else Exit.STORAGE


def _remedy(finding: "Finding") -> str:
    """The key of _REMEDIES that a finding has."""
    from cherrydag.cli.checking import DERIVED_PART, SIGN_STATE_PART

    if finding.ref is not None:
        return "copy"
    if finding.commit_index is not None:
        return "execute"
    return {DERIVED_PART: "start", SIGN_STATE_PART: "sign"}.get(finding.table, "backup")


_REMEDIES: Final = {
    "copy": "`db repair --from` another copy of the chain",
    "execute": "`db repair`, which executes it again",
    "start": "the next start, which makes it anew from the log",
    "sign": "none here: restore it from a backup of this very key, or the key may sign twice",
    "backup": "none here: restore a backup",
}


def _document(report: "CheckReport") -> dict[str, Any]:
    from cherrydag.cli.checking import finding_document

    return {
        "sound": report.is_sound,
        "vertices": report.vertices,
        "commits": report.commits,
        "swap_tables": report.swaps,
        "outcomes": report.outcomes,
        "findings": [finding_document(item) | {"repair": _remedy(item)} for item in report.findings],
        "omitted": report.omitted,
    }


def _print_report(report: "CheckReport") -> None:
    print_fields(
        {
            "vertices": f"{report.vertices:_}",
            "commits": f"{report.commits:_}",
            "outcomes": f"{report.outcomes:_}",
            "swap tables": f"{report.swaps:_}",
        }
    )
    if report.is_sound:
        click.echo("all of it is sound")
        return
    count = len(report.findings) + report.omitted
    click.echo(f"\n{count} {'thing is' if count == 1 else 'things are'} wrong:")
    for finding in report.findings[:_SHOWN_MAX]:
        click.echo(f"- {finding.table}: {finding.words}")
        click.echo(f"  repair: {_REMEDIES[_remedy(finding)]}")
    if count > _SHOWN_MAX:
        click.echo(f"and {count - _SHOWN_MAX} more; --json names up to 1000")


# Repair


@db.command()
@folder_argument
@click.option(
    "--from",
    "other",
    metavar="DIR_OR_NODE",
    help="Another copy of the chain: a ledger's folder, or HOST:PORT where a node listens for peers.",
)
@json_option
def repair(folder: Path, other: str | None, as_json: bool) -> int:
    """Check, and make good what can be: damaged vertices from another copy, damaged outcomes by execution.

    What another copy gives is proved by its digest. Exit code 4 if anything is still wrong afterwards.
    """
    from cherrydag.cli.checking import check_folder, open_store
    from cherrydag.cli.repairing import execute_again, other_copy
    from cherrydag.runtime.home import Home
    from cherrydag.storage.check import Repairs, repair_from

    home = Home.load(folder)
    with progress_bar("checking", hidden=as_json) as progress:
        before = check_folder(folder, progress)
    repairs, executed = Repairs((), before.damaged_vertices), before.damaged_outcomes
    if before.damaged_vertices and other is None:
        note("vertices are damaged: give --from another copy of the chain to repair them")
    with open_store(home) as store:
        if before.damaged_vertices and other is not None:
            with other_copy(home, other) as source:
                repairs = repair_from(store, source, before.damaged_vertices)
        if executed:
            with progress_bar("executing", hidden=as_json) as progress:
                execute_again(home, store, executed, progress)
    after = before
    if repairs.repaired or executed:
        with progress_bar("checking again", hidden=as_json) as progress:
            after = check_folder(folder, progress)
    if as_json:
        print_json(
            {
                "vertices_repaired": [ref.digest.hex() for ref in repairs.repaired],
                "vertices_missing": [ref.digest.hex() for ref in repairs.missing],
                "outcomes_repaired": list(executed),
                "after": _document(after),
            }
        )
    else:
        click.echo(f"repaired: {_vertices(len(repairs.repaired))}, {_outcomes(len(executed))}\n")
        if repairs.missing and other is not None:
            click.echo(f"{other} could not give {_vertices(len(repairs.missing))}\n")
        _print_report(after)
    return Exit.OK if after.is_sound else Exit.STORAGE


def _vertices(count: int) -> str:
    return f"{count} {'vertex' if count == 1 else 'vertices'}"


def _outcomes(count: int) -> str:
    return f"{count} {'outcome' if count == 1 else 'outcomes'}"


# Stats


@db.command()
@folder_argument
@json_option
def stats(folder: Path, as_json: bool) -> None:
    """Print what each table takes, and how much of the file is free."""
    from cherrydag.cli.checking import open_store
    from cherrydag.runtime.home import Home
    from cherrydag.storage.stats import stats as measure

    with open_store(Home.load(folder)) as store:
        found = measure(store)
    if as_json:
        print_json(found._asdict() | {"tables": [table._asdict() for table in found.tables]})
        return
    rows = [(table.name, f"{table.entries:_}", bytes_text(table.bytes)) for table in found.tables]
    print_table(("table", "entries", "size"), rows, right=("entries", "size"))
    click.echo()
    print_fields(
        {
            "file": bytes_text(found.file_bytes),
            "pages": f"{found.pages:_} of {found.page_bytes} bytes",
            "free": f"{found.free_pages:_} pages, {found.fragmentation_permille / 10:.1f} %",
        }
    )


# Export


@db.command()
@folder_argument
@click.argument("target", metavar="OUT_DIR", type=PATH)
@click.option("--from-commit", type=click.IntRange(1), help="The first that is wanted.  [default: the first]")
@click.option("--to-commit", type=click.IntRange(1), help="The last that is wanted.  [default: the last]")
@json_option
def export(folder: Path, target: Path, from_commit: int | None, to_commit: int | None, as_json: bool) -> None:
    """Write the chain to OUT_DIR as Parquet: transactions.parquet and commits.parquet.

    Amounts are text, exact to 128 bits: CAST(amount AS UHUGEINT) in DuckDB, decimal256(39, 0) in Arrow. Needs
    pyarrow: pip install 'cherrydag[export]'. OUT_DIR is complete, or not there.
    """
    from cherrydag.cli.checking import open_store
    from cherrydag.cli.names import STATUS_NAMES
    from cherrydag.runtime.home import Home
    from cherrydag.storage.export import export as write

    home = Home.load(folder)
    with open_store(home) as store, progress_bar("exporting", hidden=as_json) as progress:
        done = write(
            store,
            target,
            network=home.genesis.network,
            status_names=STATUS_NAMES,
            first_commit=from_commit,
            last_commit=to_commit,
            progress=progress,
        )
    if as_json:
        print_json({"folder": str(target)} | done._asdict())
        return
    commits = f"{done.first_commit} to {done.last_commit}" if done.last_commit > 0 else "none yet"
    print_fields(
        {
            "written to": target,
            "commits": commits,
            "transactions": f"{done.transactions:_}",
            "size": bytes_text(done.bytes),
        }
    )


# Backup

_ANSWER_STEP_S: Final = 0.05


@click.command()
@folder_argument
@click.argument("target", metavar="TARGET", type=PATH)
@json_option
def backup(folder: Path, target: Path, as_json: bool) -> None:
    """Copy a ledger to a new folder, also while its node runs.

    The copy has the keys too, and can be opened. TARGET is complete, or not there. Never run both: they sign
    with the same key. A node that runs makes the copy itself and goes on; only who owns DIR and the process
    can ask it to.
    """
    from cherrydag.cli.checking import open_store
    from cherrydag.runtime.home import Home, copy_home
    from cherrydag.runtime.marks import check_namespace, running_node

    home = Home.load(folder)
    info = running_node(folder)
    if info is not None and info.pid:
        check_namespace(folder, info)
        commit = _copied_by_node(folder, target, info.pid)
    else:
        with open_store(home) as store:
            last = store.last_commit()
            copy_home(home, store, target)
        commit = last.index if last is not None else 0
    if as_json:
        print_json({"folder": str(target), "commit": commit})
    else:
        print_fields({"copied to": target, "last commit": commit or "none yet"})


def _copied_by_node(folder: Path, target: Path, process: int) -> int:
    """Index of the last commit that is surely in the copy."""
    import os
    import signal
    import time

    from cherrydag.errors import StorageError
    from cherrydag.runtime.backup_request import ask, read_answer
    from cherrydag.runtime.marks import running_node

    request = ask(folder, target)
    os.kill(process, signal.SIGUSR2)
    while True:
        info = running_node(folder)  # before the answer, which is the last that a node leaves
        commit = read_answer(folder, request)
        if commit is not None:
            return commit
        if info is None or info.pid not in (0, process):
            raise StorageError(f"{folder}: process {process} ended before {target} was complete")
        time.sleep(_ANSWER_STEP_S)
