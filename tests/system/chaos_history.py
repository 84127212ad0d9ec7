"""What a network has told its clients, and whether it ever told something else.

Nothing that was final may disappear, move or change; every node has the same commit, and the same certified
root, at every index. The history keeps what it was told first and holds everybody to it.
"""

from dataclasses import dataclass, field
from typing import NamedTuple


class Told(NamedTuple):
    """A final transaction: where it stands and what became of it."""

    commit_index: int
    position: int
    status: int


@dataclass(slots=True)
class History:
    """commits: digests by index. seen: the last index looked at, by node. finals: by transaction id.
    roots: certified state roots by commit. findings: promises that were broken."""

    commits: dict[int, bytes] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    finals: dict[bytes, Told] = field(default_factory=dict)
    roots: dict[int, bytes] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    def on_commits(self, node: int, first: int, digests: list[bytes]) -> None:
        """A node has these commits from index `first` on."""
        for index, digest in enumerate(digests, first):
            known = self.commits.setdefault(index, digest)
            if known != digest:
                self.findings.append(
                    f"v{node} has commit {index} as {digest.hex()}, {known.hex()} was told before"
                )
        self.seen[node] = max(self.seen.get(node, 0), first + len(digests) - 1)

    def on_head(self, node: int, index: int) -> None:
        """The last commit that a node says it has executed."""
        if index < self.seen.get(node, 0):
            self.findings.append(f"v{node} went back to commit {index} from {self.seen[node]}")

    def on_root(self, node: int, index: int, root: bytes) -> None:
        """A node shows a certificate of this root."""
        known = self.roots.setdefault(index, root)
        if known != root:
            self.findings.append(f"v{node} has root {root.hex()} at commit {index}, {known.hex()} before")

    def on_final(self, node: int, transaction_id: bytes, told: Told) -> None:
        """A node says that a transaction is final."""
        known = self.finals.setdefault(transaction_id, told)
        if known != told:
            self.findings.append(f"v{node} has {transaction_id.hex()} as {told}, {known} was told before")

    def on_receipt(self, node: int, head: int, transaction_id: bytes, told: Told | None) -> None:
        """What a node whose last commit is `head` says of a transaction that somebody was told is final."""
        if told is not None:
            self.on_final(node, transaction_id, told)
        elif self.finals[transaction_id].commit_index <= head:
            known = self.finals[transaction_id]
            self.findings.append(f"v{node} at commit {head} does not know {transaction_id.hex()}, {known}")
