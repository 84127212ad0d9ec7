"""Vertices that came in, checked on the native workers: rules, then signatures, transactions' too."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cherrydag.crypto import DIGEST_BYTES
from cherrydag.errors import PeerFault
from cherrydag.params import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from cherrydag.runtime.workers import WorkerPool
from cherrydag.transaction import Octets, Records
from cherrydag.verify import EpochRules, SignatureItem, VertexFault, signature_items, verify_vertex
from cherrydag.vertex import Vertex

BATCH = 2048
"""Signatures of one job: some four milliseconds of a worker, a tenth less for each than with half as many."""


class Verdict(NamedTuple):
    """What is wrong with a vertex, or None; and the ids of its transactions, n x 32 bytes, if it is sound."""

    fault: VertexFault | None
    ids: bytes = b""


class Signatures(NamedTuple):
    """Signatures to check: n x 32 bytes of keys, n x 32 of what they sign, n x 64 of signatures."""

    keys: Octets
    digests: Octets
    signatures: Octets

    @classmethod
    def of_records(cls, records: Records, ids: bytes) -> "Signatures":
        """Those of transactions, each over its id."""
        return cls(
            np.ascontiguousarray(records["sender"]),
            np.frombuffer(ids, np.uint8).reshape(-1, DIGEST_BYTES),
            np.ascontiguousarray(records["signature"]),
        )

    @classmethod
    def of_items(cls, items: Sequence[SignatureItem]) -> "Signatures":
        """Those of vertices and checkpoints."""
        return cls(
            _rows(b"".join(item.public_key for item in items), PUBLIC_KEY_BYTES),
            _rows(b"".join(item.digest for item in items), DIGEST_BYTES),
            _rows(b"".join(item.signature for item in items), SIGNATURE_BYTES),
        )

    @classmethod
    def joined(cls, parts: Sequence["Signatures"]) -> "Signatures":
        """All of several, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


class Verifier:
    """Answers Verify effects and checks what clients submit, on a pool of native workers."""

    def __init__(self, rules: EpochRules, pool: WorkerPool) -> None:
        self._rules = rules
        self._pool = pool

    async def check(self, signatures: Signatures) -> Octets:
        """n bytes, 1 valid or 0 invalid, in input order; several jobs if there are many."""
        n = len(signatures.keys)
        parts = (tuple(column[at : at + BATCH] for column in signatures) for at in range(0, n, BATCH))
        found = await asyncio.gather(*[self._pool.verify_async(*part) for part in parts])
        return np.frombuffer(b"".join(found), np.uint8)

    async def vertices(self, vertices: Sequence[Vertex]) -> list[Verdict]:
        """The verdict on each vertex. Those that break another rule have no signature checked."""
        verdicts: list[Verdict] = []
        parts: list[Signatures] = []
        spans: list[tuple[int, int]] = []  # place of a sound vertex, signatures of the vertex itself
        for place, vertex in enumerate(vertices):
            try:
                ids = verify_vertex(vertex, self._rules)
            except PeerFault as refused:
                verdicts.append(Verdict(VertexFault(refused.code)))
                continue
            verdicts.append(Verdict(None, ids))
            items = signature_items(vertex, self._rules)
            spans.append((place, len(items)))
            parts.append(Signatures.of_items(items))
            if ids:
                parts.append(Signatures.of_records(vertex.payload.records, ids))
        if not parts:
            return verdicts
        valid = await self.check(Signatures.joined(parts))
        start = 0
        for place, own in spans:
            stop = start + own + len(vertices[place].payload)
            fault = _fault(valid[start:stop], own)
            if fault is not None:
                verdicts[place] = Verdict(fault)
            start = stop
        return verdicts


def _fault(valid: Octets, own: int) -> VertexFault | None:
    """What the verdicts on one vertex say: its own signature first, its checkpoint's, its transactions'."""
    if valid.all():
        return None
    if not valid[0]:
        return VertexFault.SIGNATURE
    return VertexFault.TRANSACTION_SIGNATURE if valid[:own].all() else VertexFault.CHECKPOINT_SIGNATURE


def _rows(data: bytes, width: int) -> Octets:
    return np.frombuffer(data, np.uint8).reshape(-1, width)
