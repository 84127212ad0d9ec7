"""The methods of the API: their names, parameters, results and words. This table is all that is served."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cherrydag.rpc import handlers
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.params import (
    ADDRESS,
    CURSOR,
    DIGEST,
    OCTETS,
    Param,
    choice,
    digests,
    integer,
    optional,
)

Handler: TypeAlias = Callable[..., Any]

U32: Final = 2**32 - 1
COMMIT_MAX: Final = U32  # a place has 32 bits for it


@dataclass(frozen=True, slots=True)
class Method:
    """One method. result: a name among SCHEMAS, and whether it may be null or is a list of it. is_read:
    turned away first where the node is overloaded. needs_socket: only over a WebSocket, whose session is the
    handler's second argument."""

    name: str
    text: str
    params: tuple[Param, ...]
    result: str
    handler: Handler
    is_nullable: bool = False
    is_list: bool = False
    is_read: bool = True
    needs_socket: bool = False


def table(limits: RpcLimits) -> dict[str, Method]:
    """All methods but those of subscriptions, by name; limits are among their parameters' types."""
    index = integer(1, COMMIT_MAX)
    the_id = Param("id", DIGEST, "The transaction's id, 32 bytes in hexadecimal.")
    address = Param("address", ADDRESS, "The text of an address of this network.")
    asset = optional(Param("asset", integer(0, U32), "Number of the asset; 0 is the native coin."), 0)
    ids = Param("ids", digests(limits.ids), f"At most {limits.ids} ids.")
    made = [
        Method(
            "ledger_info", "What chain this is: its genesis in short.", (), "LedgerInfo", handlers.ledger_info
        ),
        Method(
            "genesis",
            "The canonical bytes of the chain's genesis; their digest is the chain's identity.",
            (),
            "Genesis",
            handlers.genesis,
        ),
        Method("status", "Where the node stands.", (), "Status", handlers.status, is_read=False),
        Method(
            "balance",
            "An account's balance in smallest units, as of the last final commit; 0 if there is none.",
            (address, asset),
            "Balance",
            handlers.balance,
        ),
        Method(
            "account",
            "An account as of the last final commit. next_nonce: the lowest that it has not used; a "
            "transaction with nonce_limit or above is not taken yet.",
            (address,),
            "Account",
            handlers.account,
        ),
        Method(
            "transaction",
            "A final transaction with its record, by id; null if there is none.",
            (the_id,),
            "Transaction",
            handlers.transaction,
            is_nullable=True,
        ),
        Method(
            "receipt",
            "What became of a transaction; null if it is not final, of which `phase` tells more.",
            (the_id,),
            "Receipt",
            handlers.receipt,
            is_nullable=True,
        ),
        Method(
            "phase",
            "How far a transaction has come; phase null if this node does not know it: hand it in again.",
            (the_id,),
            "TransactionState",
            handlers.phase,
        ),
        Method(
            "submission_status",
            "How far transactions have come, in the order of their ids.",
            (ids,),
            "TransactionState",
            handlers.submission_status,
            is_list=True,
        ),
        Method(
            "history",
            "An account's transactions that left a trace, newest first. A page ends early, with a cursor, "
            f"after {limits.list_bytes} bytes.",
            (
                address,
                optional(Param("limit", integer(1, limits.history_items), "Most items of the page."), 50),
                optional(Param("cursor", CURSOR, "Of the page before.")),
            ),
            "HistoryPage",
            handlers.history,
        ),
        Method(
            "inclusion_proof",
            "Proof that a committed vertex carries a transaction; null if it is not final.",
            (the_id,),
            "InclusionProof",
            handlers.inclusion_proof,
            is_nullable=True,
        ),
        Method(
            "account_proof",
            "Proof of an account's line, or that there is none, as of a checkpoint that a quorum has signed.",
            (
                address,
                asset,
                optional(Param("wait_ms", integer(0, limits.wait_ms), "For that checkpoint."), 5000),
            ),
            "AccountProof",
            handlers.account_proof,
        ),
        Method(
            "supply",
            "How much there is of an asset. fees: the part of the native coin in the pot.",
            (asset,),
            "Supply",
            handlers.supply,
        ),
        Method(
            "commit",
            "A commit of the main chain, with its transactions from row `first` on.",
            (
                Param("commit_index", index, "From 1."),
                optional(Param("first", integer(0, U32), "First row."), 0),
                optional(Param("count", integer(0, limits.commit_rows), "Most rows."), 100),
            ),
            "Commit",
            handlers.commit,
        ),
        Method(
            "commits",
            "Commits of the main chain, summed up. A page ends early, with `next`, where it takes too long.",
            (
                Param("first", index, "Index of the first one."),
                optional(Param("count", integer(1, limits.commits_count), "Most commits."), 100),
            ),
            "CommitPage",
            handlers.commits,
        ),
        Method(
            "submit",
            "Hand in signed transactions; they are accepted or refused, by row, when this returns.",
            (
                Param("records", OCTETS, f"At most {limits.submit_rows} records of 176 bytes, end to end."),
                optional(Param("bodies", OCTETS, "Of the records that have one, end to end."), b""),
                optional(
                    Param("wait", choice("accepted", "final"), "For what the answer waits."), "accepted"
                ),
                optional(Param("wait_ms", integer(0, limits.wait_ms), "How long at most."), 10_000),
            ),
            "Submission",
            handlers.submit,
            is_read=False,
        ),
        Method(
            "peers",
            "The validators, the links of this node, and whom it refuses.",
            (),
            "Peers",
            handlers.peers,
        ),
        Method("limits", "The bounds of this API.", (), "Limits", handlers.limits, is_read=False),
        Method("mempool_stats", "What waits here, and what was.", (), "MempoolStats", handlers.mempool_stats),
        Method(
            "faucet",
            "Give an address some coins, on a chain for trying things out.",
            (address,),
            "Gift",
            handlers.faucet,
            is_read=False,
        ),
    ]
    return {method.name: method for method in made}
