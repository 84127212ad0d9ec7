"""The ledger's values as JSON: bytes in hexadecimal, amounts as decimal strings, addresses as text.

What may pass 2^53 is a string, since many readers of JSON have no other integers.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from cherrydag.address import Network, addresses_of, encode_address
from cherrydag.commit import CheckpointCertificate, Commit
from cherrydag.execution.accounts import Line, Status
from cherrydag.execution.bonds import quota_of
from cherrydag.execution.module import OperationStatus
from cherrydag.execution.receipts import StoredReceipt
from cherrydag.inclusion import InclusionProof
from cherrydag.primitives import Address
from cherrydag.refs import AnyRef, VertexRef
from cherrydag.runtime.index_keeper import Place
from cherrydag.runtime.lookups import AccountProof, BondState, CommitEvent, HistoryItem, TransactionReceipt
from cherrydag.runtime.submissions import Phase, Submission, describe
from cherrydag.state_proof import encode_state_proof
from cherrydag.transaction import RECORD, Octets, Records, amounts

Json: TypeAlias = dict[str, Any]

STATUSES: Final[dict[int, str]] = {
    int(status): status.name.lower() for status in (*Status, *OperationStatus) if status
}
"""Names of a final transaction's statuses."""

PHASES: Final[dict[int, str]] = {int(phase): phase.name.lower() for phase in Phase}

ANSWER: Final = np.dtype(
    [("code", "u1"), ("phase", "u1"), ("status", "u1"), ("reserved", "u1", (5,)), ("place", "<u8")]
)
"""A row of a binary answer to a submission, 16 bytes: as Submission's codes, phases, statuses and places."""


def status_name(status: int) -> str:
    """The name of a status."""
    return STATUSES.get(status, f"status_{status}")


def place_form(place: Place) -> Json:
    """Where a transaction stands."""
    return {"commit_index": place.commit_index, "position": place.position}


def ref_form(ref: AnyRef) -> Json:
    """A reference to a vertex."""
    if isinstance(ref, VertexRef):
        return {"kind": "validator", "round": ref.round, "author": ref.author, "digest": ref.digest.hex()}
    return {
        "kind": "operator",
        "round": ref.anchor_round,
        "issuer": ref.issuer.hex(),
        "digest": ref.digest.hex(),
    }


def record_forms(records: Records, network: Network) -> list[Json]:
    """Records, field by field, and whole. Some 50 us each: for a page of them."""
    senders = addresses_of(np.ascontiguousarray(records["sender"]))
    plain = ("kind", "scheme", "flags", "asset", "nonce", "valid_until", "body_size")
    columns = zip(*[records[name].tolist() for name in plain], strict=True)
    forms = []
    rows = zip(columns, amounts(records), records["fee"].tolist(), senders, records, strict=True)
    for values, amount, fee, sender, record in rows:
        form: Json = dict(zip(plain, values, strict=True))
        form["amount"], form["fee"] = str(amount), str(fee)
        form["sender"] = encode_address(Address(sender.tobytes()), network)
        form["recipient"] = encode_address(Address(record["recipient"].tobytes()), network)
        form["public_key"] = record["sender"].tobytes().hex()
        form["record"] = record.tobytes().hex()
        forms.append(form)
    return forms


def item_forms(items: Sequence[HistoryItem], network: Network) -> list[Json]:
    """Final transactions with their records."""
    records = np.frombuffer(b"".join(item.record for item in items), RECORD)
    return [
        {
            "id": item.transaction_id.hex(),
            **place_form(item.place),
            "status": status_name(item.status),
            "time_s": item.time_s,
            **form,
            "body": item.body.hex(),
        }
        for item, form in zip(items, record_forms(records, network), strict=True)
    ]


def row_forms(event: CommitEvent, rows: Sequence[int], network: Network) -> list[Json]:
    """Transactions of a commit by their positions, without bodies."""
    records, ids, statuses = event.records, event.ids, event.statuses
    chosen = record_forms(records[np.asarray(rows, np.int64)], network)
    return [
        {
            "id": ids[row * 32 : row * 32 + 32].hex(),
            "commit_index": event.index,
            "position": row,
            "status": status_name(int(statuses[row])),
            "time_s": event.time_s,
            **form,
        }
        for row, form in zip(rows, chosen, strict=True)
    ]


def receipt_form(receipt: TransactionReceipt) -> Json:
    """What became of a final transaction."""
    return {
        "id": receipt.transaction_id.hex(),
        **place_form(receipt.place),
        "status": status_name(receipt.status),
        "time_s": receipt.time_s,
        "vertex": ref_form(receipt.vertex),
        "row": receipt.row,
        "operation": None if receipt.operation is None else operation_form(receipt.operation),
    }


def operation_form(receipt: StoredReceipt) -> Json:
    """What a module says of its operation."""
    return {
        "vertex": receipt.vertex,
        "row": receipt.row,
        "status": status_name(receipt.status),
        "refusal": receipt.refusal,
        "events": [{"name": event.name, "fields": _plain(event.fields)} for event in receipt.events],
    }


def _plain(value: Any) -> Any:
    """Bytes as {"hex": digits}, integers beyond 53 bits as {"integer": digits}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, int) and abs(value) >= 2**53:
        return {"integer": str(value)}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def line_form(line: Line) -> Json:
    """A line of state."""
    return {
        "balance": str(line.balance),
        "nonce_base": line.nonce_base,
        "nonce_mask": str(line.nonce_mask),
        "flags": line.flags,
    }


def bond_form(state: BondState, network: Network) -> Json:
    """What an operator key has at stake."""
    bond = state.bond
    return {
        "operator": state.operator.hex(),
        "owner": None if bond is None else encode_address(bond.owner, network),
        "active": str(0 if bond is None else bond.active),
        "leaving": str(0 if bond is None else bond.leaving),
        "ready_s": 0 if bond is None else bond.ready_s,
        "quota": 0 if bond is None else quota_of(bond.active),
        "is_slashed": state.is_slashed,
    }


def certificate_form(certificate: CheckpointCertificate) -> Json:
    """A checkpoint and its signatures."""
    checkpoint = certificate.checkpoint
    return {
        "chain": checkpoint.chain.hex(),
        "epoch": checkpoint.epoch,
        "commit_index": checkpoint.index,
        "commit_digest": checkpoint.commit_digest.hex(),
        "state_root": checkpoint.state_root.hex(),
        "signatures": [
            {"author": author, "signature": signature.hex()} for author, signature in certificate.signatures
        ],
    }


def proof_form(proof: AccountProof, network: Network) -> Json:
    """Proof of an account's line, or that there is none."""
    return {
        "address": encode_address(proof.address, network),
        "asset": proof.asset,
        "line": None if proof.line is None else line_form(proof.line),
        "state_proof": encode_state_proof(proof.state).hex(),
        "certificate": certificate_form(proof.certificate),
    }


def inclusion_form(proof: InclusionProof, receipt: TransactionReceipt) -> Json:
    """Proof that a vertex carries a transaction."""
    return {
        **place_form(receipt.place),
        "vertex": ref_form(receipt.vertex),
        "header": proof.header.hex(),
        "row": proof.row,
        "signature": proof.signature.hex(),
        "siblings": proof.siblings.hex(),
    }


def commit_form(commit: Commit, statuses: Iterable[Octets]) -> Json:
    """A commit of the main chain, summed up. statuses: of the transactions of each vertex."""
    counts = np.bincount(np.concatenate([np.zeros(0, np.uint8), *statuses]), minlength=1)
    return {
        "commit_index": commit.index,
        "epoch": commit.epoch,
        "time_ms": commit.timestamp_ms,
        "digest": commit.digest.hex(),
        "prev_digest": commit.prev_digest.hex(),
        "leader": ref_form(commit.leader),
        "vertices": len(commit.vertices),
        "transactions": int(counts.sum()),
        "statuses": {status_name(status): int(counts[status]) for status in np.flatnonzero(counts).tolist()},
    }


def submission_forms(submission: Submission) -> list[Json]:
    """Each row of a small submission."""
    return [_row_form(submission, row) for row in range(len(submission))]


def _row_form(submission: Submission, row: int) -> Json:
    phase = int(submission.phases[row])
    form: Json = {"id": submission.id(row).hex(), "phase": PHASES[phase]}
    if phase == Phase.REFUSED:
        form["code"], form["message"] = describe(int(submission.codes[row]))
    if phase in (Phase.SEQUENCED, Phase.FINAL):
        form |= place_form(Place.of(int(submission.places[row])))
    if phase == Phase.FINAL:
        form["status"] = status_name(int(submission.statuses[row]))
    return form


def submission_columns(submission: Submission) -> Json:
    """A submission of any size, a list for each column; no loop runs over its rows."""
    codes, phases = submission.codes, submission.phases
    refused = phases == Phase.REFUSED
    return {
        "count": len(submission),
        "refused": int(np.count_nonzero(refused)),
        "ids": submission.ids.hex(),
        "codes": codes,
        "phases": phases,
        "statuses": submission.statuses,
        "commit_indices": submission.places >> np.uint64(32),
        "positions": submission.places & np.uint64(0xFFFF_FFFF),
        "refusals": {
            str(code): describe(code) for code in np.flatnonzero(np.bincount(codes[refused])).tolist()
        },
    }


def submission_rows(submission: Submission) -> bytes:
    """A submission of any size as n rows of ANSWER."""
    rows = np.zeros(len(submission), ANSWER)
    rows["code"], rows["phase"] = submission.codes, submission.phases
    rows["status"], rows["place"] = submission.statuses, submission.places
    return rows.tobytes()
