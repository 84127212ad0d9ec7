"""The methods of the API: their names, parameters, results and words. This table is all that is served."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cherrydag.rpc import dag_handlers, handlers
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.params import (
    ADDRESS,
    CURSOR,
    DIGEST,
    OCTETS,
    PREFIX,
    Param,
    choice,
    digests,
    integer,
    optional,
)
from cherrydag.runtime.lookups import BONDS_PAGE_MAX

Handler: TypeAlias = Callable[..., Any]

U32: Final = 2**32 - 1
COMMIT_MAX: Final = U32  # a place has 32 bits for it
ROW_MAX: Final = U32  # and as many for a row


@dataclass(frozen=True, slots=True)
class Method:
    """One method. result: a name among SCHEMAS, and whether it may be null or is a list of it. is_read:
    turned away first where the node is overloaded. needs_socket: only over a WebSocket, whose session is the
    handler's second argument. event: of a subscription, a name among SCHEMAS: the result of what it tells."""

    name: str
    text: str
    params: tuple[Param, ...]
    result: str
    handler: Handler
    is_nullable: bool = False
    is_list: bool = False
    is_read: bool = True
    needs_socket: bool = False
    event: str = ""


_ID: Final = Param("id", DIGEST, "The transaction's id, 32 bytes in hexadecimal.")
_ADDRESS: Final = Param("address", ADDRESS, "The text of an address of this network.")
_ASSET: Final = optional(Param("asset", integer(0, U32), "Number of the asset; 0 is the native coin."), 0)
_COMMIT: Final = integer(1, COMMIT_MAX)


def table(limits: RpcLimits) -> dict[str, Method]:
    """All methods but those of subscriptions, by name; limits are among their parameters' types."""
    subjects = (
        *_of_chain(),
        *_of_accounts(limits),
        *_of_transactions(limits),
        *_of_commits(limits),
        *_of_dag(limits),
        _submit(limits),
        *_of_node(),
    )
    return {method.name: method for method in subjects}


def _of_chain() -> tuple[Method, ...]:
    return (
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
        Method(
            "supply",
            "How much there is of an asset. fees: the part of the native coin in the pot.",
            (_ASSET,),
            "Supply",
            handlers.supply,
        ),
    )


def _of_accounts(limits: RpcLimits) -> tuple[Method, ...]:
    items = Param("limit", integer(1, limits.history_items), "Most items of the page.")
    wait = Param("wait_ms", integer(0, limits.wait_ms), "For that checkpoint.")
    return (
        Method(
            "balance",
            "An account's balance in smallest units, as of the last final commit; 0 if there is none.",
            (_ADDRESS, _ASSET),
            "Balance",
            handlers.balance,
        ),
        Method(
            "account",
            "An account as of the last final commit. next_nonce: the lowest that it has not used; a "
            "transaction with nonce_limit or above is not taken yet.",
            (_ADDRESS,),
            "Account",
            handlers.account,
        ),
        Method(
            "history",
            "An account's transactions that left a trace, newest first. A page ends early, with a cursor, "
            f"after {limits.list_bytes} bytes.",
            (_ADDRESS, optional(items, 50), optional(Param("cursor", CURSOR, "Of the page before."))),
            "HistoryPage",
            handlers.history,
        ),
        Method(
            "account_proof",
            "Proof of an account's line, or that there is none, as of a checkpoint that a quorum has signed.",
            (_ADDRESS, _ASSET, optional(wait, 5000)),
            "AccountProof",
            handlers.account_proof,
        ),
        Method(
            "bond",
            "What an operator key has at stake: active counts for its quota of uncommitted vertices; leaving "
            "may be withdrawn from ready_s on. All zero if there is no bond.",
            (Param("operator", DIGEST, "The operator's public key, 32 bytes in hexadecimal."),),
            "Bond",
            handlers.bond,
        ),
        Method(
            "bonds",
            "What operators have at stake, ascending by key. count, burned: of all, since the start.",
            (
                optional(Param("after", DIGEST, "The cursor of the page before.")),
                optional(Param("limit", integer(1, BONDS_PAGE_MAX), "Most bonds."), BONDS_PAGE_MAX),
            ),
            "BondPage",
            handlers.bonds,
        ),
    )


def _of_transactions(limits: RpcLimits) -> tuple[Method, ...]:
    return (
        Method(
            "transaction",
            "A final transaction with its record, by id; null if there is none.",
            (_ID,),
            "Transaction",
            handlers.transaction,
            is_nullable=True,
        ),
        Method(
            "receipt",
            "What became of a transaction; null if it is not final, of which `phase` tells more.",
            (_ID,),
            "Receipt",
            handlers.receipt,
            is_nullable=True,
        ),
        Method(
            "phase",
            "How far a transaction has come; phase null if this node does not know it: hand it in again.",
            (_ID,),
            "TransactionState",
            handlers.phase,
        ),
        Method(
            "submission_status",
            "How far transactions have come, in the order of their ids.",
            (Param("ids", digests(limits.ids), f"At most {limits.ids} ids."),),
            "TransactionState",
            handlers.submission_status,
            is_list=True,
        ),
        Method(
            "inclusion_proof",
            "Proof that a committed vertex carries a transaction; null if it is not final.",
            (_ID,),
            "InclusionProof",
            handlers.inclusion_proof,
            is_nullable=True,
        ),
    )


def _of_commits(limits: RpcLimits) -> tuple[Method, ...]:
    rows = Param("count", integer(0, limits.commit_rows), "Most rows.")
    commits = Param("count", integer(1, limits.commits_count), "Most commits.")
    return (
        Method(
            "commit",
            "A commit of the main chain, with its transactions from row `first` on.",
            (
                Param("commit_index", _COMMIT, "From 1."),
                optional(Param("first", integer(0, ROW_MAX), "First row."), 0),
                optional(rows, 100),
            ),
            "Commit",
            handlers.commit,
        ),
        Method(
            "commits",
            "Commits of the main chain, summed up. A page ends early, with `next`, where it takes too long.",
            (Param("first", _COMMIT, "Index of the first one."), optional(commits, 100)),
            "CommitPage",
            handlers.commits,
        ),
    )


def _of_dag(limits: RpcLimits) -> tuple[Method, ...]:
    return (
        Method(
            "vertex",
            "A vertex of the DAG, in a commit or not; null if the node has none. commit_index: of the final "
            "commit that orders it, null while there is none; is_leader: it leads that. author, tips: of "
            "validators' vertices; seq: of operators', whose round is their anchor round. ids: of the first "
            f"{limits.vertex_ids} transactions at most.",
            (Param("digest", PREFIX, "Its digest, or the first 16 digits of that or more."),),
            "Vertex",
            dag_handlers.vertex,
            is_nullable=True,
        ),
        Method(
            "validators",
            "The validators' part in the DAG, by what is in this node's window. rounds: those of the window "
            "below `round`, the highest with a quorum; misses: rounds among them without a vertex of this "
            "validator; vertices: rounds with one, the newest included. leads, leads_missed: leader slots "
            "that were committed and that were skipped, from the first to the last leader of the last 64 "
            "commits that this life of the node has executed and whose leaders are in the window.",
            (),
            "Validators",
            dag_handlers.validators,
        ),
    )


def _submit(limits: RpcLimits) -> Method:
    words = Param("wait", choice("accepted", "final"), "For what the answer waits.")
    return Method(
        "submit",
        "Hand in signed transactions; they are accepted or refused, by row, when this returns.",
        (
            Param("records", OCTETS, f"At most {limits.submit_rows} records of 176 bytes, end to end."),
            optional(Param("bodies", OCTETS, "Of the records that have one, end to end."), b""),
            optional(words, "accepted"),
            optional(Param("wait_ms", integer(0, limits.wait_ms), "How long at most."), 10_000),
        ),
        "Submission",
        handlers.submit,
        is_read=False,
    )


def _of_node() -> tuple[Method, ...]:
    return (
        Method("status", "Where the node stands.", (), "Status", handlers.status, is_read=False),
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
            (_ADDRESS,),
            "Gift",
            handlers.faucet,
            is_read=False,
        ),
    )
