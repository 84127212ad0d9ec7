"""What a node's host sees and must not be forgotten, as files in the node's folder.

divergence-N.json       its own state is not what a quorum has signed: see marks
equivocation-KEY.json   two headers that this operator key has signed under one seq, for whoever hands them in
                        (`cherrydag slash`)
"""

import json
import platform
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from cherrydag import __version__, crypto
from cherrydag.consensus.effects import Diverged, Report
from cherrydag.errors import ConfigError, Rejected, StorageError
from cherrydag.execution.evidence import HEADER_MAX, Evidence, decode_evidence, encode_evidence
from cherrydag.primitives import Digest
from cherrydag.runtime.background import Background
from cherrydag.runtime.home import Home
from cherrydag.runtime.host import Host
from cherrydag.runtime.marks import write_divergence
from cherrydag.storage.private_file import folder_to_oneself, write_private
from cherrydag.vertex import OperatorVertex

DIVERGED: Final = "diverged"
"""The code of a node whose state is not what a quorum has signed."""

EQUIVOCATION: Final = "equivocation-"

FILES_MAX: Final = 256
"""Most that are kept. One counts for all that a key has at stake, so there is one for each key."""

_BYTES_MAX: Final = 4 * HEADER_MAX + 1024


class EvidenceKeeper:
    """Host.keep_evidence of a ledger. refusals: where it says that a divergence takes no transactions."""

    def __init__(self, home: Home, host: Host, background: Background, refusals: dict[str, str]) -> None:
        self._home = home
        self._host = host
        self._background = background
        self._refusals = refusals

    def __call__(self, found: Diverged | Report) -> None:
        """A divergence is written before anything else happens, so that no restart signs again; an
        equivocation behind the loop's back."""
        if isinstance(found, Diverged):
            self._keep_divergence(found)
        else:
            self._background.submit(partial(self._written, found), self._tell)

    def _keep_divergence(self, found: Diverged) -> None:
        host, index = self._host, found.own.index
        before = max(0, index - self._home.genesis.chain_params.checkpoint_commits)
        served_index = before if host.agreed is None else host.agreed.checkpoint.index
        facts = {
            "validator": host.node.me,
            "last_commit": host.books.commit_index,
            "versions": {
                "cherrydag": __version__,
                "python": platform.python_version(),
                "machine": platform.machine(),
                "instructions": crypto.backend(),
            },
        }
        kept = write_divergence(self._home.folder, found, served_index, facts)
        self._refusals[DIVERGED] = (
            f"its state at commit {index} is not what a quorum has signed: {kept.path.name}"
        )

    def _written(self, found: Report) -> Path | Exception | None:
        try:
            return write_equivocation(self._home.folder, self._home.genesis.digest, found)
        except (StorageError, OSError) as fault:  # a full disk is told, and stops others first
            return fault

    def _tell(self, kept: Path | Exception | None) -> None:
        if isinstance(kept, Path):
            self._host.tell("evidence_kept", file=kept.name)
        elif kept is not None:
            self._host.tell("evidence_not_kept", words=str(kept))


# Equivocations


class FiledEvidence(NamedTuple):
    """What a file says. genesis_digest: of the chain; body: of the operation that shows it."""

    genesis_digest: Digest
    evidence: Evidence
    body: bytes


def write_equivocation(folder: Path, genesis_digest: Digest, found: Report) -> Path | None:
    """Keep what an operator has signed, durably. None if nothing is to be kept: they are a validator's, who
    has no bond; the headers say the same; there is a file for this key, or there are FILES_MAX."""
    if not isinstance(found.first, OperatorVertex) or not isinstance(found.second, OperatorVertex):
        return None
    headers = found.first.header, found.second.header
    try:
        evidence = decode_evidence(encode_evidence(*headers))
    except Rejected:
        return None
    path = folder / f"{EQUIVOCATION}{evidence.issuer.hex()}.json"
    with folder_to_oneself(folder):
        if path.exists() or len(equivocations_in(folder)) >= FILES_MAX:
            return None
        document = {
            "genesis_digest": genesis_digest.hex(),
            "issuer": evidence.issuer.hex(),
            "seq": evidence.seq,
            "headers": [header.hex() for header in headers],
        }
        write_private(path, json.dumps(document, indent=2).encode() + b"\n")
    return path


def equivocations_in(folder: Path) -> list[Path]:
    """The files of a node's folder, by their names."""
    return sorted(folder.glob(f"{EQUIVOCATION}*.json"))


def read_equivocation(path: Path) -> FiledEvidence:
    """Evidence from a file, which may be anybody's: its signatures are yet to be checked.

    ConfigError if it is none, OSError if it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(_BYTES_MAX + 1)
    try:
        if len(data) > _BYTES_MAX:
            raise ValueError(f"more than {_BYTES_MAX} bytes")
        document = json.loads(data)
        first, second = (bytes.fromhex(header) for header in document["headers"])
        body = encode_evidence(first, second)
        return FiledEvidence(Digest(bytes.fromhex(document["genesis_digest"])), decode_evidence(body), body)
    except (ValueError, LookupError, TypeError, OverflowError, Rejected) as error:
        raise ConfigError(f"{path}: it is no evidence: {error}") from error
