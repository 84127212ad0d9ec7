"""The DAG as a client gets it from a node: the API's JSON as values.

Names are the first 16 digits of digests. Nothing of it is proven.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cherrydag.errors import PeerFault
from cherrydag.primitives import Digest, PublicKey, Round, Stake, TimestampMs, ValidatorIndex
from cherrydag.rpc.readings import checked, ref_of

if TYPE_CHECKING:
    from cherrydag.refs import AnyRef
    from cherrydag.rpc.forms import Json


class DagVertex(NamedTuple):
    """A vertex that was accepted. author: None for an operator's, whose round is its anchor round. size: of
    its encoding in bytes. parents: names."""

    name: str
    author: ValidatorIndex | None
    issuer: PublicKey
    round: Round
    time_ms: TimestampMs
    transactions: int
    size: int
    parents: tuple[str, ...]


class DagCommit(NamedTuple):
    """A commit that became final, or a part of one that has many vertices. vertices: names; transactions: in
    them."""

    commit_index: int
    time_ms: TimestampMs
    leader: str
    vertices: tuple[str, ...]
    transactions: int


class DagUpdate(NamedTuple):
    """What the DAG has grown by. cursor: where to go on. is_gap: what came before is not to be had any more.
    round: the highest with a quorum; gc_round: nothing at or below it is live."""

    cursor: int
    is_gap: bool
    round: Round
    gc_round: Round
    vertices: tuple[DagVertex, ...]
    commits: tuple[DagCommit, ...]


class VertexView(NamedTuple):
    """A vertex as `vertex` tells of it. author: None for an operator's; seq: None for a validator's. ids: of
    its first transactions. commit_index: of the commit that orders it, if it is final."""

    digest: Digest
    author: ValidatorIndex | None
    issuer: PublicKey
    seq: int | None
    round: Round
    time_ms: TimestampMs
    parents: tuple[AnyRef, ...]
    tips: tuple[AnyRef, ...]
    transactions: int
    size: int
    payload_root: Digest
    ids: tuple[Digest, ...]
    commit_index: int | None
    is_leader: bool


@dataclass(frozen=True, slots=True)
class ValidatorView:
    """A validator's part in the DAG, as far as a node has it in memory: see the method `validators`."""

    index: ValidatorIndex
    name: str
    public_key: PublicKey
    stake: Stake
    is_self: bool
    is_linked: bool
    last_round: Round | None
    vertices: int
    rounds: int
    misses: int
    leads: int
    leads_missed: int


@checked
def update_of(told: Json) -> DagUpdate:
    """Of a notification of `subscribe_dag`."""
    form = told["result"]
    return DagUpdate(
        int(told["cursor"]),
        bool(form["is_gap"]),
        Round(int(form["round"])),
        Round(int(form["gc_round"])),
        tuple(_vertex(each) for each in form["vertices"]),
        tuple(_commit(each) for each in form["commits"]),
    )


def _vertex(form: Json) -> DagVertex:
    return DagVertex(
        str(form["name"]),
        _author(form["author"]),
        PublicKey(bytes.fromhex(form["issuer"])),
        Round(int(form["round"])),
        TimestampMs(int(form["time_ms"])),
        int(form["transactions"]),
        int(form["bytes"]),
        tuple(map(str, form["parents"])),
    )


def _commit(form: Json) -> DagCommit:
    return DagCommit(
        int(form["commit_index"]),
        TimestampMs(int(form["time_ms"])),
        str(form["leader"]),
        tuple(map(str, form["vertices"])),
        int(form["transactions"]),
    )


def _author(value: Any) -> ValidatorIndex | None:
    return None if value is None else ValidatorIndex(int(value))


@checked
def vertex_of(form: Json, digits: str) -> VertexView:
    """Of `vertex`. PeerFault if its digest does not begin with the digits that were asked for."""
    digest = Digest(bytes.fromhex(form["digest"]))
    if not digest.hex().startswith(digits):
        raise PeerFault("answer", "vertex: it is another one")
    return VertexView(
        digest,
        _author(form["author"]),
        PublicKey(bytes.fromhex(form["issuer"])),
        None if form["seq"] is None else int(form["seq"]),
        Round(int(form["round"])),
        TimestampMs(int(form["time_ms"])),
        tuple(map(ref_of, form["parents"])),
        tuple(map(ref_of, form["tips"])),
        int(form["transactions"]),
        int(form["bytes"]),
        Digest(bytes.fromhex(form["payload_root"])),
        tuple(Digest(bytes.fromhex(each)) for each in form["ids"]),
        None if form["commit_index"] is None else int(form["commit_index"]),
        bool(form["is_leader"]),
    )


@checked
def validators_of(form: Json) -> tuple[ValidatorView, ...]:
    """Of `validators`."""
    return tuple(map(_validator, form["validators"]))


def _validator(form: Json) -> ValidatorView:
    return ValidatorView(
        ValidatorIndex(int(form["index"])),
        str(form["name"]),
        PublicKey(bytes.fromhex(form["public_key"])),
        Stake(int(form["stake"])),
        bool(form["is_self"]),
        bool(form["is_linked"]),
        None if form["last_round"] is None else Round(int(form["last_round"])),
        int(form["vertices"]),
        int(form["rounds"]),
        int(form["misses"]),
        int(form["leads"]),
        int(form["leads_missed"]),
    )
