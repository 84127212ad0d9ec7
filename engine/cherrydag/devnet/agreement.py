"""Whether the nodes of a devnet have one chain and one state: asked of each, and proven to whoever asks."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from cherrydag.client import AsyncClient
from cherrydag.errors import CherrydagError
from cherrydag.primitives import Address, Digest
from cherrydag.rpc.link import Link

_ATTEMPTS: Final = 20
_PAUSE_S: Final = 0.25
_ANSWER_S: Final = 10.0


class DisagreementError(CherrydagError):
    """Nodes have different chains or states."""


class Agreement(NamedTuple):
    """What all nodes have. commit_digest: of the last commit that all had. state_root: as of a commit that a
    quorum has signed; each node has proven a line of it."""

    commit_index: int
    commit_digest: Digest
    state_index: int
    state_root: Digest


async def find_agreement(urls: Sequence[str], genesis_digest: bytes, owner: Address) -> Agreement:
    """Ask every node. owner: whose line is to be proven.

    DisagreementError if they differ, or do not reach the same checkpoint in time; PeerFault if a proof does
    not hold, ConnectionError if a node does not answer.
    """
    index, digest = await _common_commit(urls)
    clients = [AsyncClient(url, genesis_digest=genesis_digest, timeout_s=_ANSWER_S) for url in urls]
    try:
        for _ in range(_ATTEMPTS):
            proofs = await asyncio.gather(*(client.proof(owner) for client in clients))
            points = [proof.certificate.checkpoint for proof in proofs]
            if len({point.index for point in points}) == 1:
                _check_same(
                    urls, [point.state_root for point in points], f"state of commit {points[0].index}"
                )
                return Agreement(index, digest, points[0].index, points[0].state_root)
            await asyncio.sleep(_PAUSE_S)
        raise DisagreementError("checkpoints: the nodes did not show the same one in time")
    finally:
        for client in clients:
            await client.close()


async def _common_commit(urls: Sequence[str]) -> tuple[int, Digest]:
    """The last commit that all nodes have."""
    links = [Link(url, _ANSWER_S) for url in urls]
    try:
        status = await asyncio.gather(*(link.call("status") for link in links))
        index = min(int(one["commit_index"]) for one in status)
        found = await asyncio.gather(*(link.call("commit", commit_index=index, count=0) for link in links))
    finally:
        for link in links:
            await link.close()
    digests = [Digest(bytes.fromhex(one["digest"])) for one in found]
    _check_same(urls, digests, f"commit {index}")
    return index, digests[0]


def _check_same(urls: Sequence[str], digests: Sequence[Digest], what: str) -> None:
    if len(set(digests)) > 1:
        told = ", ".join(f"{url} {digest.hex()}" for url, digest in zip(urls, digests, strict=True))
        raise DisagreementError(f"{what}: the nodes differ: {told}")
