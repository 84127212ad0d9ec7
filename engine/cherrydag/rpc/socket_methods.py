"""The methods of a WebSocket: a second table, of what needs a session."""

from cherrydag.rpc.dag_subscription import subscribe_dag
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.methods import COMMIT_MAX, Method
from cherrydag.rpc.params import ADDRESS, Param, digests, integer, optional
from cherrydag.rpc.subscriptions import LAG_CLOSE, Session


def socket_table(limits: RpcLimits) -> dict[str, Method]:
    """The methods of a WebSocket, by name."""
    ids = Param("ids", digests(limits.ids_watched), f"At most {limits.ids_watched} ids.")
    after = Param(
        "after", integer(0, COMMIT_MAX), "Index of the last commit that is known, 0 for all of them."
    )
    made = [
        Method(
            "subscribe_commits",
            "Tell of every commit behind `after`, without a gap: old ones at the client's pace, then each as "
            "it is final; without `after`, those to come. Go on later with the cursor of the last event. "
            f"A client that does not keep up is closed with code {LAG_CLOSE} and 'lag cursor=N'.",
            (optional(after),),
            "Subscribed",
            Session.subscribe_commits,
            needs_socket=True,
            event="CommitSummary",
        ),
        Method(
            "subscribe_transactions",
            "Tell of every transaction that an address sends or gets in commits behind commit_index of the "
            "answer; `history` has those before. Refused ones without a trace are told of too.",
            (Param("address", ADDRESS, "The text of an address of this network."),),
            "Subscribed",
            Session.subscribe_transactions,
            needs_socket=True,
            event="Transaction",
        ),
        Method(
            "subscribe_finality",
            "Tell when transactions become final, each once. Of one that is dropped nothing is told: "
            "`submission_status` says so.",
            (ids,),
            "Subscribed",
            Session.subscribe_finality,
            needs_socket=True,
            event="TransactionState",
        ),
        Method(
            "subscribe_dag",
            "Tell how the DAG grows: a DagEvent ten times a second at most, with the vertices that were "
            "accepted, parents first, and the commits that became final. The first comes at once. Without "
            "`after` it begins with all that the node has kept, with it behind that cursor; if that is not "
            "kept any more, or was of an earlier life of the node, is_gap says so, and what is kept follows. "
            f"A client that does not keep up is closed with code {LAG_CLOSE} and 'lag cursor=N'.",
            (optional(Param("after", integer(0, 2**53), "The cursor of the last event that is known.")),),
            "SubscribedDag",
            subscribe_dag,
            needs_socket=True,
            event="DagEvent",
        ),
        Method(
            "unsubscribe",
            "End a subscription.",
            (Param("subscription", integer(1, 2**53), "Its number."),),
            "Unsubscribed",
            Session.unsubscribe,
            is_read=False,
            needs_socket=True,
        ),
    ]
    return {method.name: method for method in made}
