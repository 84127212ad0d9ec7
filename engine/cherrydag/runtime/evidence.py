"""What a node's host sees and must not be forgotten, as files in the node's folder.

divergence-N.json                 its own state is not what a quorum has signed: see marks
equivocation-KEY.json             two headers that this operator key has signed under one seq, for whoever
                                  hands them in (`cherrydag slash`)
validator-equivocation-KEY.json   two that this validator has signed in one round: no operation takes them, so
                                  they are for those who decide on the next committee (`cherrydag evidence`)
"""

import json
import platform
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from cherrydag import __version__, crypto
from cherrydag.chain import Chain
from cherrydag.committee import Committee
from cherrydag.consensus.effects import Diverged, Report
from cherrydag.errors import ConfigError, NoRoom, Rejected, StorageError
from cherrydag.execution.bonds import Bonds
from cherrydag.execution.evidence import Evidence, EvidenceRefusal, decode_evidence, encode_evidence
from cherrydag.layout import VALIDATOR_HEAD, VERSION, FrameTag
from cherrydag.params import SIGNATURE_BYTES
from cherrydag.primitives import Digest, Epoch, PublicKey, Round, ValidatorIndex
from cherrydag.runtime.background import Background
from cherrydag.runtime.home import Home
from cherrydag.runtime.host import Host
from cherrydag.runtime.marks import write_divergence
from cherrydag.storage.private_file import folder_to_oneself, write_private
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex

DIVERGED: Final = "diverged"
"""The code of a node whose state is not what a quorum has signed."""

EQUIVOCATION: Final = "equivocation-"
VALIDATOR_EQUIVOCATION: Final = "validator-equivocation-"

FILES_MAX: Final = 256
"""Most that are kept of operators: one for each key, since it counts for all that the key has at stake. Those
without a bond, whose keys cost nothing, get half of it. Of validators there is one for each."""

_BYTES_MAX: Final = 1 << 17
"""Of a file: two headers of a validator's vertex, as hex digits, and more."""


class EvidenceKeeper:
    """Host.keep_evidence of a ledger. refusals: where it says that a divergence takes no transactions."""

    def __init__(self, home: Home, host: Host, background: Background, refusals: dict[str, str]) -> None:
        self._home = home
        self._host = host
        self._background = background
        self._refusals = refusals
        self._writing: set[PublicKey | ValidatorIndex] = set()
        """Of whom something is being written: whoever signs twice may do so at any pace."""

    def __call__(self, found: Diverged | Report) -> None:
        """A divergence is written before anything else happens, so that no restart signs again; an
        equivocation behind the loop's back."""
        if isinstance(found, Diverged):
            self._keep_divergence(found)
            return
        first = found.first
        who = first.issuer if isinstance(first, OperatorVertex) else first.author
        if who not in self._writing:
            self._writing.add(who)
            room = FILES_MAX if self._is_at_stake(first) else FILES_MAX // 2
            self._background.submit(partial(self._written, found, room), partial(self._tell, who))

    def _is_at_stake(self, vertex: Vertex) -> bool:
        """Whether there is a bond that evidence would take."""
        bonds = self._host.books.executor.find(Bonds)
        if bonds is None or not isinstance(vertex, OperatorVertex):
            return False
        module, view = bonds
        return module.get(view, vertex.issuer) is not None

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

    def _written(self, found: Report, room: int) -> Path | Exception | None:
        genesis = self._home.genesis
        try:
            return write_equivocation(self._home.folder, genesis.digest, genesis.committee(), found, room)
        except NoRoom:
            raise  # it is tried again
        except (StorageError, OSError) as fault:
            return fault

    def _tell(self, who: PublicKey | ValidatorIndex, kept: Path | Exception | None) -> None:
        self._writing.discard(who)
        if isinstance(kept, Path):
            self._host.tell("evidence_kept", file=kept.name)
        elif kept is not None:
            self._host.tell("evidence_not_kept", words=str(kept))


# Equivocations


class ValidatorEvidence(NamedTuple):
    """Two headers of one validator, epoch and round with different contents."""

    epoch: Epoch
    round: Round
    author: ValidatorIndex
    headers: tuple[bytes, bytes]

    def key(self, committee: Committee) -> PublicKey | None:
        """Who that is; None if the committee has no such member."""
        if self.epoch != committee.epoch or self.author >= len(committee):
            return None
        return committee.members[self.author].public_key

    def is_signed(self, chain: Chain, committee: Committee) -> bool:
        """Whether the validator has signed both, as vertices of this chain."""
        key = self.key(committee)
        if key is None:
            return False
        contents = [header[:-SIGNATURE_BYTES] for header in self.headers]
        digests = b"".join([crypto.hash_bytes(content, chain.validator_key) for content in contents])
        signatures = b"".join([header[-SIGNATURE_BYTES:] for header in self.headers])
        return all(crypto.verify_signatures(2 * key, digests, signatures))


class FiledEvidence(NamedTuple):
    """What a file says. genesis_digest: of the chain."""

    genesis_digest: Digest
    evidence: Evidence | ValidatorEvidence


def write_equivocation(
    folder: Path, genesis_digest: Digest, committee: Committee, found: Report, room: int = FILES_MAX
) -> Path | None:
    """Keep what somebody has signed twice, durably. None if nothing is to be kept: the headers say the same,
    there is a file for this key, or as many of operators' as there is room for."""
    headers = found.first.header, found.second.header
    try:
        evidence = _validators(*headers) if isinstance(found.first, ValidatorVertex) else _operators(*headers)
    except Rejected:
        return None
    document: dict[str, object] = {"genesis_digest": genesis_digest.hex()}
    if isinstance(evidence, ValidatorEvidence):
        key = evidence.key(committee)
        if key is None:
            return None
        path = folder / f"{VALIDATOR_EQUIVOCATION}{key.hex()}.json"
        document |= {"validator": key.hex(), "epoch": evidence.epoch, "round": evidence.round}
    else:
        path = folder / f"{EQUIVOCATION}{evidence.issuer.hex()}.json"
        document |= {"issuer": evidence.issuer.hex(), "seq": evidence.seq}
    document["headers"] = [header.hex() for header in headers]
    with folder_to_oneself(folder):
        is_full = isinstance(evidence, Evidence) and len(equivocations_in(folder)) >= room
        if is_full or path.exists():
            return None
        write_private(path, json.dumps(document, indent=2).encode() + b"\n")
    return path


def equivocations_in(folder: Path) -> list[Path]:
    """The files of a node's folder that are against operators, by their names."""
    return sorted(folder.glob(f"{EQUIVOCATION}*.json"))


def validator_equivocations_in(folder: Path) -> list[Path]:
    """Those that are against validators."""
    return sorted(folder.glob(f"{VALIDATOR_EQUIVOCATION}*.json"))


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
        read = _validators if first[:1] == bytes([FrameTag.VALIDATOR_VERTEX]) else _operators
        return FiledEvidence(Digest(bytes.fromhex(document["genesis_digest"])), read(first, second))
    except (ValueError, LookupError, TypeError, OverflowError, Rejected) as error:
        raise ConfigError(f"{path}: it is no evidence: {error}") from error


def _operators(first: bytes, second: bytes) -> Evidence:
    return decode_evidence(encode_evidence(first, second))


def _validators(first: bytes, second: bytes) -> ValidatorEvidence:
    """As decode_evidence, of validators' headers. Rejected for any others."""
    slot = _slot_of(first)
    if slot != _slot_of(second):
        raise Rejected(EvidenceRefusal.ISSUE, "headers: not of one validator, epoch and round")
    if first[:-SIGNATURE_BYTES] == second[:-SIGNATURE_BYTES]:
        raise Rejected(EvidenceRefusal.SAME, "headers: they say the same")
    return ValidatorEvidence(*slot, (first, second))


def _slot_of(header: bytes) -> tuple[Epoch, Round, ValidatorIndex]:
    """What there may be one vertex of. What else a header says needs no look: a signature covers it."""
    if len(header) < VALIDATOR_HEAD.size + SIGNATURE_BYTES:
        raise Rejected(EvidenceRefusal.SIZE, f"header: {len(header)} bytes")
    tag, version, author, epoch, round_, *_ = VALIDATOR_HEAD.unpack_from(header)
    if tag != FrameTag.VALIDATOR_VERTEX or version != VERSION:
        raise Rejected(EvidenceRefusal.FORMAT, f"header: tag {tag}, version {version}: no validator vertex's")
    return Epoch(epoch), Round(round_), ValidatorIndex(author)
