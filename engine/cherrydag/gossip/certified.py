"""What commit sync checks of an answer before it believes it; all of it without the chain's history."""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import NamedTuple, NoReturn

from cherrydag.chain import Chain
from cherrydag.commit import Commit, CommitVote
from cherrydag.committee import Committee
from cherrydag.errors import PeerFault
from cherrydag.gossip.faults import SyncFault
from cherrydag.gossip.messages import Commits
from cherrydag.payload import EMPTY_PAYLOAD, payload_ids, payload_root
from cherrydag.primitives import Digest, Epoch, ValidatorIndex
from cherrydag.refs import AnyRef
from cherrydag.vertex import ValidatorVertex, Vertex


class CommitLink(NamedTuple):
    """A commit by its place in the chain."""

    commit_index: int
    digest: Digest


def check_answer(
    message: Commits, first: int, last: int, committee: Committee, known: Iterable[CommitLink]
) -> tuple[ValidatorVertex, ...]:
    """Check an answer to a request for first..last: its commits, if it has any, and who certifies the last.

    Returns the votes to be verified. Raises PeerFault with COMMIT_RANGE, COMMIT_EPOCH, COMMIT_LINK,
    COMMIT_VERTICES, VOTE or VOTE_STAKE.
    """
    commits, votes = message.commits, message.votes
    if not commits:
        if votes:
            _refuse(SyncFault.COMMIT_RANGE, f"votes: {len(votes)} without a commit")
        return ()
    check_commits(commits, first, last, committee.epoch, known)
    return check_votes(votes, commits[-1], committee)


def check_commits(
    commits: Sequence[Commit], first: int, last: int, epoch: Epoch, known: Iterable[CommitLink]
) -> None:
    """Check that these, at least one, begin the range first..last and link to one another and to `known`.

    Raises PeerFault with COMMIT_RANGE, COMMIT_EPOCH, COMMIT_LINK or COMMIT_VERTICES.
    """
    if len(commits) > last - first + 1:
        _refuse(SyncFault.COMMIT_RANGE, f"commits: asked for {first}..{last}, got {len(commits)}")
    for index, commit in enumerate(commits, first):
        if commit.index != index:
            _refuse(SyncFault.COMMIT_RANGE, f"commits: expected index {index}, got {commit.index}")
        if commit.epoch != epoch:
            _refuse(SyncFault.COMMIT_EPOCH, f"commit {index}: expected epoch {epoch}, got {commit.epoch}")
    for previous, commit in pairwise(commits):
        if commit.prev_digest != previous.digest:
            _refuse(SyncFault.COMMIT_LINK, f"commit {commit.index}: not linked to the one before it")
    digests = {first - 1: commits[0].prev_digest} | {commit.index: commit.digest for commit in commits}
    for index, digest in known:
        if digests.get(index, digest) != digest:
            _refuse(SyncFault.COMMIT_LINK, f"commit {index}: not the one that is known")
    refs = list(chain.from_iterable(commit.vertices for commit in commits))
    if len(set(refs)) != len(refs):
        _refuse(SyncFault.COMMIT_VERTICES, "commits: a vertex is ordered twice")


def check_votes(
    votes: Sequence[ValidatorVertex], commit: Commit, committee: Committee
) -> tuple[ValidatorVertex, ...]:
    """The first of the votes that certify this commit: with validity stake, so that one of them is honest.

    Their rules and signatures are yet to be verified.
    Raises PeerFault with VOTE if one before them is none, or VOTE_STAKE.
    """
    sought = CommitVote(commit.index, commit.digest)
    voters: list[ValidatorIndex] = []
    for place, vertex in enumerate(votes):
        if vertex.author >= len(committee) or vertex.author in voters:
            _refuse(SyncFault.VOTE, f"votes[{place}]: author {vertex.author} is unknown or there twice")
        if vertex.epoch != committee.epoch or sought not in vertex.commit_votes:
            _refuse(SyncFault.VOTE, f"votes[{place}]: no vote for commit {commit.index}")
        voters.append(vertex.author)
        if committee.stake_of(voters) >= committee.validity:
            return tuple(votes[: place + 1])
    stake = committee.stake_of(voters)
    raise PeerFault(SyncFault.VOTE_STAKE, f"votes: stake {stake}, expected {committee.validity}")


def check_vertices(vertices: Sequence[Vertex], asked: Sequence[AnyRef], ledger: Chain) -> None:
    """Check that these are some of those asked for, with the payloads that their headers name.

    Raises PeerFault with TOO_MANY, NOT_ASKED or PAYLOAD.
    """
    if len(vertices) > len(asked):
        _refuse(SyncFault.TOO_MANY, f"vertices: asked for {len(asked)}, got {len(vertices)}")
    open_refs = dict.fromkeys(asked)
    for place, vertex in enumerate(vertices):
        if vertex.ref not in open_refs:
            _refuse(SyncFault.NOT_ASKED, f"vertices[{place}]: not asked for, or there twice")
        del open_refs[vertex.ref]
    for place, vertex in enumerate(vertices):
        payload = vertex.payload
        if (
            payload is not EMPTY_PAYLOAD
            and payload_root(payload, payload_ids(payload, ledger)) != payload.root
        ):
            _refuse(SyncFault.PAYLOAD, f"vertices[{place}]: its payload is not the one that its header names")


def _refuse(fault: SyncFault, message: str) -> NoReturn:
    raise PeerFault(fault, message)
