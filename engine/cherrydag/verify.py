"""A vertex alone: every rule that needs no other vertex, cheapest first (consensus, 1 and 2).

A failure is permanent and every honest node sees the same one. Nothing here looks at a clock, at expiry or at
a parent's content: those are policy or context. Whatever a decoded value says, the only error is PeerFault.

One fault does not condemn the digest: PAYLOAD_ROOT says that this frame does not carry what its header names,
so whoever sent it is at fault and the vertex may still arrive whole from another peer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple, NoReturn

import numpy as np

from cherrydag import crypto
from cherrydag.chain import Chain
from cherrydag.commit import Checkpoint, CheckpointCertificate
from cherrydag.committee import Committee
from cherrydag.errors import PeerFault
from cherrydag.params import (
    COMMIT_VOTES_MAX,
    FEE_MIN,
    OPERATOR_PARENTS_MAX,
    OPERATOR_PARENTS_MIN,
    TIP_WINDOW,
    TIPS_MAX,
    VERTEX_BODIES_BYTES_MAX,
    VERTEX_TRANSACTIONS_MAX,
)
from cherrydag.payload import Payload, payload_ids, payload_root
from cherrydag.primitives import Digest, PublicKey, ValidatorIndex
from cherrydag.refs import OperatorRef, VertexRef, round_of
from cherrydag.transaction import RecordFault, check_records, operation_kinds
from cherrydag.vertex import OperatorVertex, ValidatorVertex, Vertex, genesis_vertices

_RECORD_FAULTS = {fault.value: fault for fault in RecordFault}


class VertexFault(StrEnum):
    """Which rule a vertex or certificate breaks; stable codes, in the order of the checks."""

    EPOCH = "vertex_epoch"
    """It is not of this epoch."""
    ROUND = "vertex_round"
    """Round 0 belongs to the genesis vertices, which nobody sends."""
    AUTHOR = "vertex_author"
    """The author is not in the committee."""
    SIGNATURE = "vertex_signature"
    """The author's or issuer's signature is not valid."""
    CHECKPOINT_SIGNATURE = "vertex_checkpoint_signature"
    """The signature of the checkpoint that it carries is not valid."""
    ANCESTORS = "vertex_ancestors"
    """There is no ancestor, or more than validators."""
    ANCESTOR_AUTHOR = "vertex_ancestor_author"
    """An ancestor's author is not in the committee."""
    OWN_ANCESTOR = "vertex_own_ancestor"
    """The first ancestor is not the author's own."""
    ANCESTOR_TWICE = "vertex_ancestor_twice"
    """Two ancestors are of one author."""
    ANCESTOR_ROUND = "vertex_ancestor_round"
    """An ancestor is not of an earlier round."""
    GENESIS_REF = "vertex_genesis_ref"
    """A reference of round 0 is to no genesis vertex of this epoch."""
    STRONG_STAKE = "vertex_strong_stake"
    """The ancestors of the round before have less than a quorum of stake."""
    TIPS = "vertex_tips"
    """Too many tips."""
    TIP_TWICE = "vertex_tip_twice"
    """A tip is listed twice."""
    TIP_ROUND = "vertex_tip_round"
    """A tip's anchor round lies outside the window."""
    COMMIT_VOTES = "vertex_commit_votes"
    """Too many commit votes."""
    COMMIT_VOTE_ORDER = "vertex_commit_vote_order"
    """Commit votes are not in strictly ascending order of index."""
    PARENTS = "vertex_parents"
    """An operator vertex has too few or too many parents."""
    PARENT_AUTHOR = "vertex_parent_author"
    """A parent's author is not in the committee."""
    PARENT_TWICE = "vertex_parent_twice"
    """A parent is listed twice."""
    OWN_PARENT = "vertex_own_parent"
    """The first parent is not the issuer's own although seq > 0, or another one is the issuer's."""
    ANCHOR_ROUND = "vertex_anchor_round"
    """The anchor round is not the highest round among the parents."""
    TRANSACTIONS = "vertex_transactions"
    """Too many transactions."""
    BODIES = "vertex_bodies"
    """Too many bytes of bodies."""
    PAYLOAD_ROOT = "vertex_payload_root"
    """The payload is not the one that the header names: the sender's fault, not the author's."""
    RECORD = "vertex_record"
    """A transaction breaks a rule that needs no state; the message names row and rule."""
    TRANSACTION_SIGNATURE = "vertex_transaction_signature"
    """The signature of a transaction is not valid: its author has not checked what it carries."""
    CERTIFICATE_CHAIN = "certificate_chain"
    """The checkpoint is another chain's."""
    CERTIFICATE_AUTHOR = "certificate_author"
    """A signer is not in the committee."""
    CERTIFICATE_ORDER = "certificate_order"
    """The signers are not in strictly ascending order."""
    CERTIFICATE_STAKE = "certificate_stake"
    """The signers have less than a quorum of stake."""
    CERTIFICATE_SIGNATURE = "certificate_signature"
    """A signature is not valid."""


@dataclass(frozen=True, slots=True)
class EpochRules:
    """What the rules need to know of an epoch. Make it with EpochRules.of.

    genesis: digest of each validator's genesis vertex, by author. kinds: of the operations that the chain's
    modules have, each once, ascending; a vertex with another kind of operation is not valid. fee_min: least
    fee of a transaction.
    """

    chain: Chain
    committee: Committee
    genesis: tuple[Digest, ...]
    kinds: tuple[int, ...] = ()
    fee_min: int = FEE_MIN

    @classmethod
    def of(
        cls,
        chain: Chain,
        committee: Committee,
        origin: Digest | None = None,
        kinds: Iterable[int] = (),
        fee_min: int = FEE_MIN,
    ) -> "EpochRules":
        """The rules of the committee's epoch; origin: the last commit of the epoch before, if any.

        Raises ShapeError for a kind that no operation can have.
        """
        start = chain.genesis_digest if origin is None else origin
        genesis = tuple(vertex.digest for vertex in genesis_vertices(committee, start))
        return cls(chain, committee, genesis, operation_kinds(kinds), fee_min)


class SignatureItem(NamedTuple):
    """One signature to check: a public key, the 32 bytes it should have signed, the 64 bytes of signature."""

    public_key: PublicKey
    digest: Digest
    signature: bytes


# A vertex alone


def verify_validator_vertex(vertex: ValidatorVertex, rules: EpochRules) -> bytes:
    """Check every stateless rule but the signatures; return the ids of its transactions, n x 32 bytes.

    Raises PeerFault with a VertexFault for the first rule that is broken.
    """
    n = len(rules.committee)
    if vertex.epoch != rules.committee.epoch:
        _refuse(VertexFault.EPOCH, f"epoch: expected {rules.committee.epoch}, got {vertex.epoch}")
    if vertex.round < 1:
        _refuse(VertexFault.ROUND, f"round: expected at least 1, got {vertex.round}")
    if vertex.author >= n:
        _refuse(VertexFault.AUTHOR, f"author: expected an index below {n}, got {vertex.author}")
    _check_ancestors(vertex, rules)
    _check_tips(vertex)
    _check_commit_votes(vertex)
    return _check_payload(vertex.payload, rules)


def verify_operator_vertex(vertex: OperatorVertex, rules: EpochRules) -> bytes:
    """Check every stateless rule but the signature; return the ids of its transactions, n x 32 bytes.

    Who may issue is not a rule of validity. Raises PeerFault with a VertexFault for the first rule broken.
    """
    if vertex.epoch != rules.committee.epoch:
        _refuse(VertexFault.EPOCH, f"epoch: expected {rules.committee.epoch}, got {vertex.epoch}")
    _check_parents(vertex, rules)
    return _check_payload(vertex.payload, rules)


def verify_vertex(vertex: Vertex, rules: EpochRules) -> bytes:
    """verify_validator_vertex or verify_operator_vertex, by the vertex's kind."""
    if isinstance(vertex, ValidatorVertex):
        return verify_validator_vertex(vertex, rules)
    return verify_operator_vertex(vertex, rules)


def _check_ancestors(vertex: ValidatorVertex, rules: EpochRules) -> None:
    ancestors, n = vertex.ancestors, len(rules.committee)
    if not 1 <= len(ancestors) <= n:
        _refuse(VertexFault.ANCESTORS, f"ancestors: expected 1 to {n}, got {len(ancestors)}")
    authors = [ref.author for ref in ancestors]
    if max(authors) >= n:
        _refuse(VertexFault.ANCESTOR_AUTHOR, f"ancestors: expected authors below {n}, got {max(authors)}")
    if authors[0] != vertex.author:
        _refuse(VertexFault.OWN_ANCESTOR, f"ancestors[0]: expected author {vertex.author}, got {authors[0]}")
    if len(set(authors)) != len(authors):
        _refuse(VertexFault.ANCESTOR_TWICE, "ancestors: two are of one author")
    rounds = [ref.round for ref in ancestors]
    if max(rounds) >= vertex.round:
        _refuse(
            VertexFault.ANCESTOR_ROUND, f"ancestors: expected rounds below {vertex.round}, got {max(rounds)}"
        )
    if min(rounds) == 0:
        _check_genesis(ancestors, rules)
    strong = vertex.round - 1
    stake = rules.committee.stake_of([ref.author for ref in ancestors if ref.round == strong])
    quorum = rules.committee.quorum
    if stake < quorum:
        _refuse(
            VertexFault.STRONG_STAKE, f"ancestors: stake {stake} in round {strong}, {quorum} are a quorum"
        )


def _check_tips(vertex: ValidatorVertex) -> None:
    tips = vertex.tips
    if len(tips) > TIPS_MAX:
        _refuse(VertexFault.TIPS, f"tips: expected at most {TIPS_MAX}, got {len(tips)}")
    if len(set(tips)) != len(tips):
        _refuse(VertexFault.TIP_TWICE, "tips: one is listed twice")
    low = max(0, vertex.round - TIP_WINDOW)
    for row, tip in enumerate(tips):
        if not low <= tip.anchor_round < vertex.round:
            expected = f"expected an anchor round from {low} to {vertex.round - 1}"
            _refuse(VertexFault.TIP_ROUND, f"tips[{row}]: {expected}, got {tip.anchor_round}")


def _check_commit_votes(vertex: ValidatorVertex) -> None:
    votes = [vote.commit_index for vote in vertex.commit_votes]
    if len(votes) > COMMIT_VOTES_MAX:
        _refuse(
            VertexFault.COMMIT_VOTES, f"commit_votes: expected at most {COMMIT_VOTES_MAX}, got {len(votes)}"
        )
    if not _ascending(votes):
        _refuse(VertexFault.COMMIT_VOTE_ORDER, "commit_votes: not in strictly ascending order of index")


def _check_parents(vertex: OperatorVertex, rules: EpochRules) -> None:
    parents, n = vertex.parents, len(rules.committee)
    if not OPERATOR_PARENTS_MIN <= len(parents) <= OPERATOR_PARENTS_MAX:
        expected = f"expected {OPERATOR_PARENTS_MIN} to {OPERATOR_PARENTS_MAX}"
        _refuse(VertexFault.PARENTS, f"parents: {expected}, got {len(parents)}")
    validators = [ref for ref in parents if isinstance(ref, VertexRef)]
    for ref in validators:
        if ref.author >= n:
            _refuse(VertexFault.PARENT_AUTHOR, f"parents: expected authors below {n}, got {ref.author}")
    if len(set(parents)) != len(parents):
        _refuse(VertexFault.PARENT_TWICE, "parents: one is listed twice")
    own = [
        row for row, ref in enumerate(parents) if isinstance(ref, OperatorRef) and ref.issuer == vertex.issuer
    ]
    if own != ([0] if vertex.seq else []):
        expected = "the first to be the issuer's, and no other" if vertex.seq else "none of the issuer's"
        _refuse(VertexFault.OWN_PARENT, f"parents: seq {vertex.seq}, expected {expected}, got rows {own}")
    highest = max(round_of(ref) for ref in parents)
    if vertex.anchor_round != highest:
        _refuse(VertexFault.ANCHOR_ROUND, f"anchor_round: expected {highest}, got {vertex.anchor_round}")
    _check_genesis(validators, rules)


def _check_genesis(refs: Iterable[VertexRef], rules: EpochRules) -> None:
    """Each reference of round 0 is a genesis vertex's; authors are known to be in the committee."""
    for ref in refs:
        if ref.round == 0 and ref.digest != rules.genesis[ref.author]:
            _refuse(VertexFault.GENESIS_REF, f"reference to round 0 of author {ref.author}: not its genesis")


def _check_payload(payload: Payload, rules: EpochRules) -> bytes:
    """Limits, root, then each record; returns the transaction ids."""
    if len(payload) > VERTEX_TRANSACTIONS_MAX:
        expected = f"expected at most {VERTEX_TRANSACTIONS_MAX}"
        _refuse(VertexFault.TRANSACTIONS, f"transactions: {expected}, got {len(payload)}")
    if len(payload.bodies) > VERTEX_BODIES_BYTES_MAX:
        expected = f"expected at most {VERTEX_BODIES_BYTES_MAX} bytes"
        _refuse(VertexFault.BODIES, f"bodies: {expected}, got {len(payload.bodies)}")
    ids = payload_ids(payload, rules.chain)
    if payload_root(payload, ids) != payload.root:
        _refuse(VertexFault.PAYLOAD_ROOT, "payload: its Merkle root is not the header's")
    # Expiry depends on the main chain's time, which is context: second 0 lets every record pass.
    faults = check_records(payload.records, now_s=0, fee_min=rules.fee_min, kinds=rules.kinds)
    if faults.any():
        row = int(np.flatnonzero(faults)[0])
        fault = _RECORD_FAULTS[int(faults[row])]
        _refuse(VertexFault.RECORD, f"transaction {row}: {fault.name}, {fault.text}")
    return ids


# Signatures


def signature_items(vertex: Vertex, rules: EpochRules) -> list[SignatureItem]:
    """The signatures of a vertex that has passed its other rules: its own, then its checkpoint's if any.

    They can be checked together with other vertices' in one crypto.verify_signatures call.
    """
    chain = rules.chain
    if isinstance(vertex, OperatorVertex):
        return [SignatureItem(vertex.issuer, vertex.signing_digest(chain), vertex.signature)]
    key = rules.committee.members[vertex.author].public_key
    items = [SignatureItem(key, vertex.signing_digest(chain), vertex.signature)]
    if vertex.checkpoint is not None:
        index, commit_digest, state_root, signature = vertex.checkpoint
        signed = Checkpoint(chain.genesis_digest, vertex.epoch, index, commit_digest, state_root)
        items.append(SignatureItem(key, signed.signing_digest(chain), signature))
    return items


def verify_vertex_signatures(vertices: Sequence[Vertex], rules: EpochRules) -> list[VertexFault | None]:
    """Check the signatures of many vertices in one native call; the fault of each vertex, or None.

    The vertices have passed verify_vertex.
    """
    groups = [signature_items(vertex, rules) for vertex in vertices]
    verdicts = iter(verify_items([item for group in groups for item in group]))
    faults: list[VertexFault | None] = []
    for group in groups:
        own, *checkpoint = [next(verdicts) for _ in group]
        if not own:
            faults.append(VertexFault.SIGNATURE)
        else:
            faults.append(None if all(checkpoint) else VertexFault.CHECKPOINT_SIGNATURE)
    return faults


def verify_items(items: Sequence[SignatureItem]) -> bytes:
    """Check n signatures in one native call; n bytes, 1 valid or 0 invalid, in input order."""
    keys, digests, signatures = zip(*items, strict=True) if items else ((), (), ())
    return crypto.verify_signatures(b"".join(keys), b"".join(digests), b"".join(signatures))


# Checkpoints


def verify_certificate(certificate: CheckpointCertificate, rules: EpochRules) -> None:
    """Check that a quorum of the committee signed the checkpoint, every signature included.

    Raises PeerFault with a VertexFault for the first rule that is broken.
    """
    checkpoint, committee = certificate.checkpoint, rules.committee
    if checkpoint.chain != rules.chain.genesis_digest:
        _refuse(VertexFault.CERTIFICATE_CHAIN, "checkpoint: it is another chain's")
    if checkpoint.epoch != committee.epoch:
        _refuse(VertexFault.EPOCH, f"epoch: expected {committee.epoch}, got {checkpoint.epoch}")
    authors: list[ValidatorIndex] = [author for author, _ in certificate.signatures]
    if authors and max(authors) >= len(committee):
        expected = f"expected authors below {len(committee)}"
        _refuse(VertexFault.CERTIFICATE_AUTHOR, f"signatures: {expected}, got {max(authors)}")
    if not _ascending(authors):
        _refuse(VertexFault.CERTIFICATE_ORDER, "signatures: authors not in strictly ascending order")
    stake = committee.stake_of(authors)
    if stake < committee.quorum:
        expected = f"{committee.quorum} are a quorum"
        _refuse(VertexFault.CERTIFICATE_STAKE, f"signatures: stake {stake}, {expected}")
    digest = checkpoint.signing_digest(rules.chain)
    members = committee.members
    items = [SignatureItem(members[a].public_key, digest, s) for a, s in certificate.signatures]
    verdicts = verify_items(items)
    if not all(verdicts):
        author = authors[verdicts.index(0)]
        _refuse(VertexFault.CERTIFICATE_SIGNATURE, f"signatures: that of author {author} is not valid")


def _ascending(keys: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(keys))


def _refuse(fault: VertexFault, message: str) -> NoReturn:
    raise PeerFault(fault, message)
