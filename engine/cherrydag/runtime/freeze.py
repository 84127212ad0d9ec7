"""Who takes no transactions, and why."""

from typing import NamedTuple

from cherrydag.errors import Rejected


class Freeze(NamedTuple):
    """Why a ledger is only to be read: it signs, sequences and executes nothing, and meets no peer. code:
    stable. until: the last commit whose state is told; None: the last one whose outcome is stored."""

    code: str
    words: str
    until: int | None = None


def refuse_all() -> None:
    """An observer has nothing to put a transaction into, and forwards none."""
    raise Rejected(
        "node_issues_nothing",
        "this node only follows and issues nothing: submit to a validator or an operator",
    )


def refuse_frozen(freeze: Freeze) -> None:
    """Nothing that is handed in would ever be final."""
    raise Rejected(freeze.code, f"this ledger takes no transactions: {freeze.words}")
