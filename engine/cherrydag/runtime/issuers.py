"""Who may issue operator vertices, from the executed state to the core.

By the events of each commit's receipts, and all of them at a start: no commit costs a scan.
"""

from collections.abc import Iterable

from cherrydag.execution.bonds import changed_bonds, quota_of, share_of
from cherrydag.execution.executor import CommitResult
from cherrydag.node import Node
from cherrydag.primitives import PublicKey


def set_issuers(node: Node, bonds: Iterable[tuple[PublicKey, int]]) -> None:
    """Operators and their active bonds, 0 for who has none any more."""
    for operator, active in bonds:
        node.set_issuer(operator, share_of(active), quota_of(active))


def update_issuers(node: Node, result: CommitResult) -> None:
    """What a commit has changed."""
    if result.receipts:
        set_issuers(node, changed_bonds(item.receipt for item in result.receipts).items())
