"""Checkpoints: our signature of the state after every so many commits, and the quorum's (consensus.md, 6)."""

from cherrydag.chain import Chain
from cherrydag.commit import Checkpoint, CheckpointCertificate, CheckpointSignature, CheckpointVote
from cherrydag.committee import Committee
from cherrydag.consensus.ports import Signer
from cherrydag.primitives import Digest, ValidatorIndex
from cherrydag.vertex import ValidatorVertex

KEPT_MAX = 4
"""Checkpoint indices of one author that are kept: a liar can fill no more."""


class Checkpoints:
    """Collects checkpoint votes of one epoch and tells when a quorum has signed."""

    __slots__ = ("_chain", "_committee", "_due", "_signed", "_votes", "certified", "own")

    def __init__(self, chain: Chain, committee: Committee) -> None:
        self._chain = chain
        self._committee = committee
        self._votes: dict[ValidatorIndex, dict[int, CheckpointVote]] = {}
        self.own: dict[int, Checkpoint] = {}
        self.certified: CheckpointCertificate | None = None
        self._due: CheckpointVote | None = None

    def on_executed(self, index: int, commit_digest: Digest, root: Digest, signer: Signer | None) -> None:
        """The state after a checkpoint's commit is known: sign it, for our next vertex to carry."""
        checkpoint = self._checkpoint(index, commit_digest, root)
        self.own[index] = checkpoint
        for old in sorted(self.own)[:-KEPT_MAX]:
            del self.own[old]
        if signer is not None:
            signature = signer.sign(checkpoint.signing_digest(self._chain))
            self._due = CheckpointVote(index, commit_digest, root, signature)

    def take_due(self) -> CheckpointVote | None:
        """Our vote that no vertex carries yet; taken out."""
        due, self._due = self._due, None
        return due

    def note(self, vertex: ValidatorVertex) -> CheckpointCertificate | None:
        """Count a vertex's checkpoint vote; the certificate if it makes a new, higher one."""
        vote = vertex.checkpoint
        if vote is None or (self.certified and vote.commit_index <= self.certified.checkpoint.index):
            return None
        kept = self._votes.setdefault(vertex.author, {})
        kept[vote.commit_index] = vote
        if len(kept) > KEPT_MAX:
            # Who votes far ahead of everybody pushes out his own votes alone.
            del kept[max(kept)]
        return self._certify(vote)

    def has_diverged(self) -> int | None:
        """The index at which a quorum has signed another state than ours; None if there is none."""
        if self.certified is None:
            return None
        signed = self.certified.checkpoint
        own = self.own.get(signed.index)
        return signed.index if own is not None and own != signed else None

    def _certify(self, vote: CheckpointVote) -> CheckpointCertificate | None:
        same = [
            (author, kept[vote.commit_index].signature)
            for author, kept in sorted(self._votes.items())
            if vote.commit_index in kept and kept[vote.commit_index][:3] == vote[:3]
        ]
        if self._committee.stake_of([author for author, _ in same]) < self._committee.quorum:
            return None
        signatures = tuple(CheckpointSignature(author, signature) for author, signature in same)
        self.certified = CheckpointCertificate(self._checkpoint(*vote[:3]), signatures)
        for kept in self._votes.values():
            for index in [index for index in kept if index <= vote.commit_index]:
                del kept[index]
        return self.certified

    def _checkpoint(self, index: int, commit_digest: Digest, root: Digest) -> Checkpoint:
        return Checkpoint(self._chain.genesis_digest, self._committee.epoch, index, commit_digest, root)
