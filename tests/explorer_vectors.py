"""Golden answers of the API for what the explorer checks in the browser: a genesis, accounts' proofs, a
transaction's inclusion. explorer/test/proof.test.ts reads the same file.

Deliberately regenerate the vectors with:  python tests/explorer_vectors.py --write
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from reference.state_tree_reference import bucket_of, contents, siblings_reference, tree_root_reference

from cherrydag.address import Network, address_of
from cherrydag.commit import Checkpoint, CheckpointCertificate, CheckpointSignature, Commit
from cherrydag.execution.accounts import Line
from cherrydag.genesis import Allocation, Genesis, Validator
from cherrydag.inclusion import prove_inclusion
from cherrydag.payload import build_payload, payload_ids
from cherrydag.primitives import Amount, Digest, Epoch, Round, Stake, TimestampMs, ValidatorIndex
from cherrydag.rpc import forms
from cherrydag.runtime.index_keeper import Place
from cherrydag.runtime.lookups import AccountProof, HistoryItem
from cherrydag.signing import generate_keypair, sign_digest, sign_records
from cherrydag.state_proof import ACCOUNTS, ENTRIES, LEDGER, StateProof, TreeRoot, state_root
from cherrydag.transaction import build_transfers
from cherrydag.vertex import OperatorVertex, ValidatorVertex, genesis_vertices

VECTORS = Path(__file__).parent / "vectors" / "explorer.json"

KEYS = [generate_keypair(bytes([40 + number]) * 32) for number in range(4)]
OPERATOR = generate_keypair(bytes([60]) * 32)
USERS = [generate_keypair(bytes([70 + number]) * 32) for number in range(40)]
GENESIS = Genesis(
    name="the explorer's chain",
    network=Network.DEV,
    created_ms=TimestampMs(1_790_000_000_000),
    validators=tuple(
        Validator(f"v{number}", key.public_key, Stake(stake), (f"v{number}.example:4100",) * (number % 2))
        for number, (key, stake) in enumerate(zip(KEYS, (1, 1, 2, 2**40), strict=True))
    ),
    allocations=(Allocation(address_of(USERS[0].public_key), Amount(10**27)),),
    modules=("anchor", "assets"),
)
CHAIN = GENESIS.chain()
DEPTH = 3
INDEX = 1234
BALANCE = 2**127 + 10**18 + 1


def account_proofs() -> list[dict[str, Any]]:
    """Of an account with company in its bucket, and of one that is not there."""
    lines = {
        address_of(key.public_key): Line(Amount(BALANCE + number), 5 + number, 6, number % 2)
        for number, key in enumerate(USERS[:-1])
    }
    accounts = {address + bytes(4): _spelt(line) for address, line in lines.items()}
    buckets = contents(ACCOUNTS, DEPTH, accounts)
    others = tuple(
        TreeRoot(
            name, depth, Digest(tree_root_reference(name, depth, contents(name, depth, {b"k": b"v" * size})))
        )
        for name, depth, size in ((ENTRIES, 5, 64), (LEDGER, 1, 65))
    )
    tree = TreeRoot(ACCOUNTS, DEPTH, Digest(tree_root_reference(ACCOUNTS, DEPTH, buckets)))
    certificate = certificate_of(state_root(sorted((*others, tree))))
    proofs = []
    for user in (USERS[0], USERS[-1]):
        address = address_of(user.public_key)
        bucket = bucket_of(ACCOUNTS, DEPTH, address + bytes(4))
        siblings = siblings_reference(ACCOUNTS, DEPTH, buckets, bucket)
        state = StateProof(ACCOUNTS, DEPTH, others, siblings, buckets.get(bucket, b""))
        proofs.append(
            forms.proof_form(AccountProof(address, 0, lines.get(address), state, certificate), Network.DEV)
        )
    return proofs


def certificate_of(root: Digest) -> CheckpointCertificate:
    """By the last two validators, who have a quorum."""
    checkpoint = Checkpoint(GENESIS.digest, Epoch(0), INDEX, Digest(bytes(range(32))), root)
    digest = checkpoint.signing_digest(CHAIN)
    signatures = [
        CheckpointSignature(ValidatorIndex(author), sign_digest(digest, KEYS[author])) for author in (2, 3)
    ]
    return CheckpointCertificate(checkpoint, tuple(signatures))


def inclusions() -> list[dict[str, Any]]:
    """Of a transaction of each kind of vertex, with the commit that orders both."""
    records = build_transfers(
        senders=b"".join(key.public_key for key in USERS[:5]),
        recipients=b"".join(address_of(key.public_key) for key in USERS[5:10]),
        amounts=[1, 2, 2**100, 4, 5],
        nonces=[0, 1, 2, 3, 4],
    )
    sign_records(records, CHAIN.transaction_key, USERS[:5], np.arange(5))
    payload = build_payload(records, CHAIN)
    ids = payload_ids(payload, CHAIN)
    parents = tuple(vertex.ref for vertex in genesis_vertices(GENESIS.committee(), GENESIS.digest))
    fields = {"epoch": Epoch(0), "timestamp_ms": TimestampMs(1_790_000_001_000), "payload": payload}
    operator = _signed(
        OperatorVertex,
        OPERATOR,
        anchor_round=Round(0),
        seq=0,
        issuer=OPERATOR.public_key,
        parents=parents,
        **fields,
    )
    validator = _signed(
        ValidatorVertex,
        KEYS[2],
        round=Round(1),
        author=ValidatorIndex(2),
        ancestors=(parents[2], *parents[:2]),
        tips=(operator.ref,),
        **fields,
    )
    commit = Commit(
        Epoch(0), INDEX, Digest(bytes(32)), TimestampMs(1_790_000_001_000), (operator.ref, validator.ref)
    )
    form = {
        **forms.commit_form(commit, [np.ones(5, np.uint8)] * 2),
        "vertex_refs": [forms.ref_form(ref) for ref in commit.vertices],
    }
    made = []
    for at, (vertex, row) in enumerate(((validator, 2), (operator, 4), (operator, 0))):
        item = HistoryItem(
            Digest(ids[32 * row : 32 * row + 32]),
            Place(INDEX, at),
            1,
            1_790_000_001,
            records[row].tobytes(),
            b"",
        )
        proof = prove_inclusion(vertex, row, CHAIN)
        made.append(
            {
                "transaction": forms.item_forms([item], Network.DEV)[0],
                "commit": form,
                "proof": {
                    "vertex": forms.ref_form(vertex.ref),
                    "header": proof.header.hex(),
                    "row": row,
                    "signature": proof.signature.hex(),
                    "siblings": proof.siblings.hex(),
                },
            }
        )
    return made


def golden() -> dict[str, Any]:
    return {
        "about": "Answers of the API on the chain of tests/explorer_vectors.py, all of which hold.",
        "genesis": {"digest": GENESIS.digest.hex(), "encoding": GENESIS.encoding.hex()},
        "balance": str(BALANCE),
        "accounts": account_proofs(),
        "inclusions": inclusions(),
    }


def _spelt(line: Line) -> bytes:
    return b"".join(field.to_bytes(size, "little") for field, size in zip(line, (16, 8, 8, 4), strict=True))


def _signed(kind: Any, key: Any, **fields: Any) -> Any:
    blank = kind(**fields)
    return kind(**fields, signature=sign_digest(blank.signing_digest(CHAIN), key))


if __name__ == "__main__" and "--write" in sys.argv:
    VECTORS.write_text(json.dumps(golden(), indent=1) + "\n")
