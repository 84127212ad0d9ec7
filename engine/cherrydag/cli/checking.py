"""A check of a ledger's folder, in a process of its own: LMDB trusts its pages, a damaged one may kill it.

The child prints a line for each step, [done, total], and at the end an object: the report, or an error.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from cherrydag.cli.output import Progress
from cherrydag.errors import ConfigError, InUse, StorageError
from cherrydag.primitives import Digest, PublicKey, Round, ValidatorIndex
from cherrydag.refs import AnyRef, OperatorRef, VertexRef
from cherrydag.runtime.home import VALIDATOR, Home
from cherrydag.storage.check import CheckReport, Finding, check
from cherrydag.storage.chunk_file import read_chunks
from cherrydag.storage.directory import LEDGER
from cherrydag.storage.generation import DERIVED, MANIFEST, ManifestError, load_manifest
from cherrydag.storage.lmdb import LmdbStore
from cherrydag.storage.schema import Identity
from cherrydag.storage.values import StoreOptions

DERIVED_PART: Final = "derived"
SIGN_STATE_PART: Final = "sign-state"
"""What findings beside the database name as their table."""

_CHILD: Final = "import sys; from cherrydag.cli.checking import child; child(sys.argv[1])"
_ERRORS: Final = (ConfigError, InUse, StorageError)
"""What the child may tell as an error, the narrower kinds first."""

_STEPS: Final = 200  # lines of progress at most, so that they cost nothing


def identity_of(home: Home) -> Identity:
    """Whose database is in a home."""
    return Identity(home.genesis.digest, home.genesis.committee().epoch)


def open_store(home: Home, *, preflight: bool = True) -> LmdbStore:
    """The store of a home. StorageError if there is none: nothing is made."""
    if not (home.data / LEDGER).is_dir():
        raise StorageError(f"{home.data}: there is no database")
    return LmdbStore(home.data, identity_of(home), StoreOptions(preflight=preflight))


def check_folder(folder: Path, progress: Progress) -> CheckReport:
    """Check a ledger's folder in a child process.

    ConfigError if it is none; StorageError if its database is in use, cannot be opened, or kills its reader.
    """
    command = [sys.executable, "-c", _CHILD, str(folder)]
    done, total = 0, 0
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    # In a group of its own: the terminal's interrupt is for us, and we kill it.
    with subprocess.Popen(command, **pipes, text=True, process_group=0) as process:  # noqa: S603 - our own code
        try:
            for line in process.stdout or ():
                told = json.loads(line)
                if isinstance(told, dict):
                    return _report(told)
                done, total = told
                progress(done, total)
        except BaseException:
            process.kill()
            raise
    place = f"at entry {done} of {total}" if total else "before the first entry"
    if process.returncode >= 0:
        raise StorageError(f"{folder}: the check ended {place}, for the reason above")
    how = signal.Signals(-process.returncode).name
    raise StorageError(
        f"{folder}: the check died of {how} {place}: pages of the database are damaged, restore a backup"
    )


# The child


def child(folder: str) -> None:
    """Check, and tell on stdout."""
    try:
        document = _document(_check(Path(folder)))
    except (ConfigError, StorageError) as error:
        kinds = (kind.__name__ for kind in _ERRORS if isinstance(error, kind))
        document = {"error": str(error), "kind": next(kinds)}
    print(json.dumps(document), flush=True)  # noqa: T201 - to the parent


def _check(folder: Path) -> CheckReport:
    home = Home.load(folder)
    with open_store(home, preflight=False) as store:
        report = check(store, _tell())
    beside = (*_check_derived(home), *_check_sign_state(home))
    return CheckReport(
        report.vertices,
        report.commits,
        report.swaps,
        report.outcomes,
        (*report.findings, *beside),
        report.omitted,
    )


def _tell() -> Progress:
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        step = _STEPS * done // max(total, 1)
        if step != told:
            told = step
            print(json.dumps([done, total]), flush=True)  # noqa: T201 - to the parent

    return tell


def _check_derived(home: Home) -> Iterator[Finding]:
    """What of the derived state cannot be used: then a start replays more of the log."""
    folder = home.data / DERIVED
    for previous in (False, True):
        name = f"{MANIFEST}.old" if previous else MANIFEST
        try:
            generation = load_manifest(folder, identity_of(home), previous=previous)
            if generation is not None:
                _, chunks = read_chunks(folder / generation.state)
                for _ in chunks:
                    pass
        except ManifestError as error:
            yield Finding(DERIVED_PART, str(error))
        except StorageError as error:
            yield Finding(DERIVED_PART, f"{name}: {error}")


def _check_sign_state(home: Home) -> Iterator[Finding]:
    """Whether what the validator's key has signed can be read, in a home that has such a key."""
    for key in home.keystore.list_keys():
        if key.name == VALIDATOR:
            try:
                with home.sign_state(key.public_key) as file:
                    if file.has_damaged_slot:
                        words = "one of its two slots cannot be read: it holds the mark before"
                        yield Finding(SIGN_STATE_PART, words)
            except StorageError as error:
                yield Finding(SIGN_STATE_PART, str(error))


# The report as JSON


def _document(report: CheckReport) -> dict[str, Any]:
    return {
        "vertices": report.vertices,
        "commits": report.commits,
        "swaps": report.swaps,
        "outcomes": report.outcomes,
        "omitted": report.omitted,
        "findings": [finding_document(finding) for finding in report.findings],
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it."""
    return {
        "table": finding.table,
        "words": finding.words,
        "vertex": None if finding.ref is None else _ref_document(finding.ref),
        "commit": finding.commit_index,
    }


def _ref_document(ref: AnyRef) -> dict[str, Any]:
    if isinstance(ref, VertexRef):
        return {"round": ref.round, "author": ref.author, "digest": ref.digest.hex()}
    return {"anchor_round": ref.anchor_round, "issuer": ref.issuer.hex(), "digest": ref.digest.hex()}


def _report(told: dict[str, Any]) -> CheckReport:
    if "error" in told:
        raise next(kind for kind in _ERRORS if kind.__name__ == told["kind"])(told["error"])
    findings = tuple(
        Finding(item["table"], item["words"], _ref(item["vertex"]), item["commit"])
        for item in told["findings"]
    )
    return CheckReport(
        told["vertices"], told["commits"], told["swaps"], told["outcomes"], findings, told["omitted"]
    )


def _ref(document: dict[str, Any] | None) -> AnyRef | None:
    if document is None:
        return None
    digest = Digest(bytes.fromhex(document["digest"]))
    with suppress(KeyError):
        return VertexRef(Round(document["round"]), ValidatorIndex(document["author"]), digest)
    issuer = PublicKey(bytes.fromhex(document["issuer"]))
    return OperatorRef(Round(document["anchor_round"]), issuer, digest)
