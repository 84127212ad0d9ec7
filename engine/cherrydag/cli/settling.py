"""What became of a transaction that a command has handed in."""

from typing import TYPE_CHECKING, Any

from cherrydag.cli.options import Where
from cherrydag.cli.output import note

if TYPE_CHECKING:
    from cherrydag.rpc.remote_submission import RemoteSubmission
    from cherrydag.runtime.submissions import Submission


def final_of(submission: "Submission | RemoteSubmission", where: Where) -> dict[str, Any]:
    """Wait until it is final, and say what became of it, as JSON has it."""
    from cherrydag.cli.names import status_name
    from cherrydag.runtime.index_keeper import Place
    from cherrydag.runtime.submissions import Phase

    transaction_id = submission.id().hex()
    try:
        submission.wait()
    except KeyboardInterrupt:
        note(f"it may become final all the same: cherrydag receipt {where} {transaction_id}")
        raise
    phase = Phase(int(submission.phases[0]))
    place = Place.of(int(submission.places[0]))
    status = status_name(int(submission.statuses[0])) if phase == Phase.FINAL else phase.name.lower()
    return {
        "id": transaction_id,
        "status": status,
        "commit": place.commit_index,
        "position": place.position,
    }
