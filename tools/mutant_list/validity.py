"""Mistakes in the rules of a vertex alone (consensus, 1 and 2)."""

from typing import Final

from mutant_list.mutant import Mutant

VERIFY: Final = "engine/cherrydag/verify.py"
TESTS: Final = "tests/unit/test_verify.py"
SIGNATURES: Final = "tests/unit/test_verify_signatures.py"
OPERATIONS: Final = "tests/unit/test_verify_operations.py"
RECORDS: Final = "ext/wire/records.c"

VALIDITY: Final = (
    Mutant(
        "weak-counts-as-strong",
        "1: ancestors of any round make the strong quorum",
        VERIFY,
        "[ref.author for ref in ancestors if ref.round == strong]",
        "[ref.author for ref in ancestors]",
        TESTS,
    ),
    Mutant(
        "strong-by-heads",
        "1: the strong quorum counts validators and not stake",
        VERIFY,
        "    if stake < quorum:\n        _refuse(\n            VertexFault.STRONG_STAKE",
        "    if len(ancestors) < n - (n - 1) // 3:\n        _refuse(\n            VertexFault.STRONG_STAKE",
        TESTS,
    ),
    Mutant(
        "two-ancestors-of-one-author",
        "1: a vertex may list both vertices of an equivocation",
        VERIFY,
        "    if len(set(authors)) != len(authors):\n",
        "    if len(set(ancestors)) != len(authors):\n",
        TESTS,
    ),
    Mutant(
        "foreign-chain-of-own",
        "1: the first ancestor may be anybody's",
        VERIFY,
        "if authors[0] != vertex.author:",
        "if vertex.author not in authors:",
        TESTS,
    ),
    Mutant(
        "ancestor-of-own-round",
        "1: an ancestor may be of the vertex's own round",
        VERIFY,
        "if max(rounds) >= vertex.round:",
        "if max(rounds) > vertex.round:",
        TESTS,
    ),
    Mutant(
        "any-genesis",
        "1: a reference of round 0 may be to anything",
        VERIFY,
        "if ref.round == 0 and ref.digest != rules.genesis[ref.author]:",
        "if ref.round == 0 and len(ref.digest) != 32:",
        TESTS,
    ),
    Mutant(
        "tip-window-off",
        "1: a tip may lie one round below the window of tips",
        VERIFY,
        "low = max(0, vertex.round - TIP_WINDOW)",
        "low = max(0, vertex.round - TIP_WINDOW - 1)",
        TESTS,
    ),
    Mutant(
        "payload-root-believed",
        "1: a vertex may carry another payload than its header names",
        VERIFY,
        "if payload_root(payload, ids) != payload.root:",
        'if payload_root(payload, ids) == b"":',
        TESTS,
    ),
    Mutant(
        "operations-of-any-kind",
        "1: a vertex may carry operations that the chain has no module for",
        VERIFY,
        "kinds=rules.kinds)",
        "kinds=range(16, 256))",
        OPERATIONS,
    ),
    Mutant(
        "operations-kept-to-transfer-rules",
        "1: an operation without an amount, or with a body, is refused",
        RECORDS,
        "    if (is_transfer) {",
        "    if (is_transfer || kind) {",
        OPERATIONS,
    ),
    Mutant(
        "anchor-round-too-high",
        "2: an operator may claim a higher anchor round than its parents'",
        VERIFY,
        "if vertex.anchor_round != highest:",
        "if vertex.anchor_round < highest:",
        TESTS,
    ),
    Mutant(
        "checkpoint-signature-unchecked",
        "1: a checkpoint's signature need not be valid",
        VERIFY,
        "faults.append(None if all(checkpoint) else VertexFault.CHECKPOINT_SIGNATURE)",
        "faults.append(None)",
        SIGNATURES,
    ),
    Mutant(
        "signature-unchecked",
        "1: a vertex's own signature need not be valid",
        VERIFY,
        "        if not own:\n",
        "        if not own and checkpoint:\n",
        SIGNATURES,
    ),
    Mutant(
        "certificate-signer-twice",
        "6: one signer may stand in a certificate twice",
        VERIFY,
        "return all(a < b for a, b in pairwise(keys))",
        "return all(a <= b for a, b in pairwise(keys))",
        SIGNATURES,
    ),
)
