"""How a peer breaks the rules of fetch and sync."""

from enum import StrEnum


class SyncFault(StrEnum):
    """Which rule an answer or a request breaks; stable codes."""

    UNSOLICITED = "sync_unsolicited"
    """The answer is to no request of ours to this peer, or is the second one to it."""
    TOO_MANY = "sync_too_many"
    """The answer holds more vertices than were asked for."""
    NOT_ASKED = "sync_not_asked"
    """The answer holds a vertex that was not asked for, or one twice."""
    PAYLOAD = "sync_payload"
    """A vertex does not carry the payload that its header names."""
    COMMIT_RANGE = "sync_commit_range"
    """The commits are not those asked for: too many, the wrong indices, or votes without a commit."""
    COMMIT_EPOCH = "sync_commit_epoch"
    """A commit is of another epoch."""
    COMMIT_LINK = "sync_commit_link"
    """A commit does not link to the one before it, or to what is known of the chain."""
    COMMIT_VERTICES = "sync_commit_vertices"
    """Two commits of the range order the same vertex."""
    VOTE = "sync_vote"
    """What should certify the last commit is no vote for it: another epoch, author or commit, or a second
    one of an author."""
    VOTE_STAKE = "sync_vote_stake"
    """The votes for the last commit have less than validity stake."""
    REQUEST_REFS = "sync_request_refs"
    """A request for too many vertices."""
    REQUEST_AUTHOR = "sync_request_author"
    """A request names a validator that the committee does not have."""
    REQUEST_RANGE = "sync_request_range"
    """A request for commits below index 1, for a reversed range or for too long a one."""
