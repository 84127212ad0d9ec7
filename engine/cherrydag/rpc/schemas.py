"""The shapes of results as JSON Schema: what the descriptions serve, and the tests hold answers to."""

from typing import Any, Final, TypeAlias

from cherrydag.rpc.forms import PHASES, STATUSES
from cherrydag.rpc.jsonrpc import VERSION

Schema: TypeAlias = dict[str, Any]

HEX: Final[Schema] = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
DIGEST: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
NAME: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
AMOUNT: Final[Schema] = {"type": "string", "pattern": "^(0|[1-9][0-9]{0,38})$"}
ADDRESS: Final[Schema] = {"type": "string", "minLength": 40, "maxLength": 90}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
STATUS: Final[Schema] = {"type": "string", "enum": sorted(STATUSES.values())}
KIND: Final[Schema] = {"type": "string", "enum": ["validator", "operator"]}
VERSIONS: Final[Schema] = {"type": "string", "enum": [VERSION]}
PHASE: Final[Schema] = {"type": "string", "enum": sorted(PHASES.values())}


def ref(name: str) -> Schema:
    """One of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    """It, or null."""
    return {"oneOf": [schema, {"type": "null"}]}


def listed(schema: Schema) -> Schema:
    """A list of it."""
    return {"type": "array", "items": schema}


def _object(members: Schema, optional: tuple[str, ...] = ()) -> Schema:
    """An object with these members and no others; some may be missing."""
    required = [name for name in members if name not in optional]
    return {"type": "object", "properties": members, "required": required, "additionalProperties": False}


def _counts(schema: Schema = COUNT) -> Schema:
    return {"type": "object", "additionalProperties": schema}


_PLACE: Final = {"commit_index": COUNT, "position": COUNT}

_RECORD: Final = {
    "kind": COUNT,
    "scheme": COUNT,
    "flags": COUNT,
    "asset": COUNT,
    "nonce": COUNT,
    "amount": AMOUNT,
    "fee": AMOUNT,
    "valid_until": COUNT,
    "body_size": COUNT,
    "sender": ADDRESS,
    "recipient": ADDRESS,
    "public_key": DIGEST,
    "record": HEX,
}

_VALIDATOR: Final = {
    "index": COUNT,
    "name": TEXT,
    "public_key": DIGEST,
    "stake": AMOUNT,
    "is_self": FLAG,
    "is_linked": FLAG,
}

_COMMIT: Final = {
    "commit_index": COUNT,
    "epoch": COUNT,
    "time_ms": COUNT,
    "digest": DIGEST,
    "prev_digest": DIGEST,
    "leader": ref("VertexRef"),
    "vertices": COUNT,
    "transactions": COUNT,
    "statuses": _counts(),
}

_TOLD: Final = _object(
    {
        "subscription": COUNT,
        "cursor": COUNT,
        "result": {"type": "object"},
        "error": _object({"code": TEXT, "message": TEXT}),
    },
    ("result", "error"),
) | {"minProperties": 3, "maxProperties": 3}
"""A result, of which the method's x-event is the schema, or the error that has ended the subscription."""

SCHEMAS: Final[dict[str, Schema]] = {
    "VertexRef": _object(
        {
            "kind": KIND,
            "round": COUNT,
            "author": COUNT,
            "issuer": DIGEST,
            "digest": DIGEST,
        },
        ("author", "issuer"),
    ),
    "LedgerInfo": _object(
        {
            "name": TEXT,
            "network": TEXT,
            "genesis_digest": DIGEST,
            "created_ms": COUNT,
            "supply": AMOUNT,
            "modules": listed(TEXT),
            "kinds": listed(COUNT),
            "validators": listed(_object({"name": TEXT, "public_key": DIGEST, "stake": AMOUNT})),
            "fee_min": AMOUNT,
            "checkpoint_commits": COUNT,
            "tree_depth": COUNT,
            "version": TEXT,
        }
    ),
    "Genesis": _object({"digest": DIGEST, "encoding": HEX}),
    "Status": _object(
        {
            "genesis_digest": DIGEST,
            "commit_index": COUNT,
            "time_s": COUNT,
            "round": COUNT,
            "checkpoint_index": COUNT,
            "is_checkpointing": FLAG,
            "open_submissions": COUNT,
            "mempool": ref("MempoolStats"),
            "stored_bytes": COUNT,
            "validator": nullable(COUNT),
            "is_ready": FLAG,
            "reasons": listed(_object({"code": TEXT, "text": TEXT})),
            "version": TEXT,
        }
    ),
    "MempoolStats": _counts({"oneOf": [COUNT, listed(COUNT)]}),
    "Balance": _object({"balance": AMOUNT, "commit_index": COUNT}),
    "Account": _object(
        {
            "address": ADDRESS,
            "balance": AMOUNT,
            "next_nonce": COUNT,
            "nonce_limit": COUNT,
            "flags": COUNT,
            "commit_index": COUNT,
        }
    ),
    "Transaction": _object(
        {"id": DIGEST, **_PLACE, "status": STATUS, "time_s": COUNT, **_RECORD, "body": HEX}, ("body",)
    ),
    "Event": _object({"name": TEXT, "fields": {"type": "object"}}),
    "Operation": _object(
        {"vertex": COUNT, "row": COUNT, "status": STATUS, "refusal": TEXT, "events": listed(ref("Event"))}
    ),
    "Receipt": _object(
        {
            "id": DIGEST,
            **_PLACE,
            "status": STATUS,
            "time_s": COUNT,
            "vertex": ref("VertexRef"),
            "row": COUNT,
            "operation": nullable(ref("Operation")),
        }
    ),
    "TransactionState": _object(
        {"id": DIGEST, "phase": nullable(PHASE), "code": TEXT, "message": TEXT, **_PLACE, "status": STATUS},
        ("code", "message", "commit_index", "position", "status"),
    ),
    "HistoryPage": _object({"items": listed(ref("Transaction")), "cursor": nullable(AMOUNT)}),
    "InclusionProof": _object(
        {**_PLACE, "vertex": ref("VertexRef"), "header": HEX, "row": COUNT, "signature": HEX, "siblings": HEX}
    ),
    "Line": _object({"balance": AMOUNT, "nonce_base": COUNT, "nonce_mask": AMOUNT, "flags": COUNT}),
    "Certificate": _object(
        {
            "chain": DIGEST,
            "epoch": COUNT,
            "commit_index": COUNT,
            "commit_digest": DIGEST,
            "state_root": DIGEST,
            "signatures": listed(_object({"author": COUNT, "signature": HEX})),
        }
    ),
    "AccountProof": _object(
        {
            "address": ADDRESS,
            "asset": COUNT,
            "line": nullable(ref("Line")),
            "state_proof": HEX,
            "certificate": ref("Certificate"),
        }
    ),
    "Supply": _object({"total": AMOUNT, "fees": AMOUNT, "commit_index": COUNT}),
    "Bond": _object(
        {
            "operator": DIGEST,
            "owner": nullable(ADDRESS),
            "active": AMOUNT,
            "leaving": AMOUNT,
            "ready_s": COUNT,
            "quota": COUNT,
            "is_slashed": FLAG,
        }
    ),
    "BondPage": _object(
        {
            "bonds": listed(ref("Bond")),
            "cursor": nullable(DIGEST),
            "count": COUNT,
            "burned": AMOUNT,
            "commit_index": COUNT,
        }
    ),
    "CommitSummary": _object({**_COMMIT}),
    "Commit": _object(
        {
            **_COMMIT,
            "vertex_refs": listed(ref("VertexRef")),
            "operations": listed(ref("Operation")),
            "rows": listed(ref("Transaction")),
            "next_row": nullable(COUNT),
        }
    ),
    "CommitPage": _object({"commits": listed(ref("CommitSummary")), "next": nullable(COUNT)}),
    "Vertex": _object(
        {
            "digest": DIGEST,
            "kind": KIND,
            "author": nullable(COUNT),
            "issuer": DIGEST,
            "seq": nullable(COUNT),
            "round": COUNT,
            "time_ms": COUNT,
            "parents": listed(ref("VertexRef")),
            "tips": listed(ref("VertexRef")),
            "transactions": COUNT,
            "bytes": COUNT,
            "payload_root": DIGEST,
            "ids": listed(DIGEST),
            "commit_index": nullable(COUNT),
            "is_leader": FLAG,
        }
    ),
    "Validators": _object(
        {
            "round": COUNT,
            "validators": listed(
                _object(
                    {
                        **_VALIDATOR,
                        "last_round": nullable(COUNT),
                        "vertices": COUNT,
                        "rounds": COUNT,
                        "misses": COUNT,
                        "leads": COUNT,
                        "leads_missed": COUNT,
                    }
                )
            ),
        }
    ),
    "Submission": _object({"is_settled": FLAG, "transactions": listed(ref("TransactionState"))}),
    "Peers": _object(
        {
            "validators": listed(_object(_VALIDATOR)),
            "links": listed(
                _object(
                    {
                        "validator": nullable(COUNT),
                        "public_key": DIGEST,
                        "address": TEXT,
                        "is_ours": FLAG,
                        "age_ms": COUNT,
                        "rtt_ms": nullable(COUNT),
                        "bytes_in": COUNT,
                        "bytes_out": COUNT,
                        "faults": COUNT,
                        "last_fault": nullable(TEXT),
                    }
                )
            ),
            "bans": listed(_object({"public_key": DIGEST, "left_ms": COUNT, "text": TEXT})),
            "others": COUNT,
            "linked_stake": AMOUNT,
            "quorum_stake": AMOUNT,
        }
    ),
    "Limits": _counts(),
    "Gift": _object({"id": DIGEST, "amount": AMOUNT}),
    "Subscribed": _object({"subscription": COUNT, "commit_index": COUNT}),
    "SubscribedDag": _object({"subscription": COUNT, "cursor": COUNT}),
    "DagEvent": _object(
        {
            "is_gap": FLAG,
            "round": COUNT,
            "gc_round": COUNT,
            "vertices": listed(ref("DagVertex")),
            "commits": listed(ref("DagCommit")),
        }
    ),
    "DagVertex": _object(
        {
            "name": NAME,
            "kind": KIND,
            "author": nullable(COUNT),
            "issuer": DIGEST,
            "round": COUNT,
            "time_ms": COUNT,
            "transactions": COUNT,
            "bytes": COUNT,
            "parents": listed(NAME),
        }
    ),
    "DagCommit": _object(
        {
            "commit_index": COUNT,
            "time_ms": COUNT,
            "leader": NAME,
            "vertices": listed(NAME),
            "transactions": COUNT,
        }
    ),
    "Unsubscribed": _object({"was_open": FLAG}),
    "Notification": _object(
        {"jsonrpc": VERSIONS, "method": {"type": "string", "enum": ["subscription"]}, "params": _TOLD}
    ),
    "ErrorData": _object(
        {"code": TEXT, "limit": COUNT, "retry_after_ms": COUNT}, ("limit", "retry_after_ms")
    ),
    "Document": {"type": "object"},
}
"""By name: the components of the descriptions."""
