"""The other way round from `forms`: the API's JSON as the ledger's values, for a client.

What a node says may be anything: whatever is not of the right form raises PeerFault, code "answer".
"""

from collections.abc import Callable
from functools import wraps
from struct import Struct
from typing import Any, Final, ParamSpec, TypeVar

from cherrydag.address import Network, decode_address
from cherrydag.commit import Checkpoint, CheckpointCertificate, CheckpointSignature
from cherrydag.errors import CherrydagError, PeerFault
from cherrydag.execution.accounts import Line
from cherrydag.execution.bonds import Bond, Totals
from cherrydag.execution.receipts import StoredEvent, StoredReceipt
from cherrydag.inclusion import InclusionProof
from cherrydag.ledger import AccountView, LedgerStatus
from cherrydag.mempool import MempoolStats
from cherrydag.payload import body_offsets
from cherrydag.primitives import (
    Amount,
    Digest,
    Epoch,
    PublicKey,
    Round,
    ValidatorIndex,
)
from cherrydag.refs import AnyRef, OperatorRef, VertexRef
from cherrydag.rpc.forms import PHASES, STATUSES, Json
from cherrydag.runtime.index_keeper import Place
from cherrydag.runtime.lookups import (
    BondPage,
    BondState,
    HistoryItem,
    HistoryPage,
    Supply,
    TransactionReceipt,
)
from cherrydag.runtime.submissions import Phase
from cherrydag.transaction import as_records, transaction_ids

_Given = ParamSpec("_Given")
_Read = TypeVar("_Read")

_LINE: Final = Struct("<16sQQI")  # an account's value in the state: ENTRY_BYTES of execution.accounts
_STATUS_NUMBERS: Final = {name: number for number, name in STATUSES.items()}
_PHASE_NUMBERS: Final = {name: Phase(number) for number, name in PHASES.items()}


def checked(read: Callable[_Given, _Read]) -> Callable[_Given, _Read]:
    """Whatever a reader stumbles over is the node's fault."""

    @wraps(read)
    def reading(*arguments: _Given.args, **named: _Given.kwargs) -> _Read:
        try:
            return read(*arguments, **named)
        except PeerFault:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, CherrydagError) as error:
            words = f"{type(error).__name__}: {error}"
            raise PeerFault("answer", f"the node's answer is not what it should be: {words}") from error

    return reading


def _status(name: str) -> int:
    return _STATUS_NUMBERS[name] if name in _STATUS_NUMBERS else int(name.removeprefix("status_"))


def _place(form: Json) -> Place:
    return Place(int(form["commit_index"]), int(form["position"]))


def ref_of(form: Json) -> AnyRef:
    """A reference to a vertex."""
    digest = Digest(bytes.fromhex(form["digest"]))
    if form["kind"] == "validator":
        return VertexRef(Round(form["round"]), ValidatorIndex(form["author"]), digest)
    return OperatorRef(Round(form["round"]), PublicKey(bytes.fromhex(form["issuer"])), digest)


@checked
def account_of(form: Json, network: Network) -> AccountView:
    """Of `account`."""
    return AccountView(
        decode_address(form["address"], network),
        Amount(int(form["balance"])),
        int(form["next_nonce"]),
        int(form["flags"]),
        int(form["commit_index"]),
    )


@checked
def nonce_window_of(form: Json) -> tuple[int, int]:
    """Of `account`: the lowest nonce that it has not used, and the first one that it may not use yet."""
    return int(form["next_nonce"]), int(form["nonce_limit"])


@checked
def balance_of(form: Json) -> Amount:
    """Of `balance`."""
    return Amount(int(form["balance"]))


@checked
def supply_of(form: Json) -> Supply:
    """Of `supply`."""
    return Supply(int(form["total"]), int(form["fees"]))


@checked
def phase_of(form: Json) -> Phase | None:
    """Of `phase`."""
    return None if form["phase"] is None else _PHASE_NUMBERS[form["phase"]]


@checked
def receipt_of(form: Json) -> TransactionReceipt:
    """Of `receipt`."""
    return TransactionReceipt(
        Digest(bytes.fromhex(form["id"])),
        _place(form),
        _status(form["status"]),
        int(form["time_s"]),
        ref_of(form["vertex"]),
        int(form["row"]),
        None if form["operation"] is None else _operation(form["operation"]),
    )


def _operation(form: Json) -> StoredReceipt:
    events = tuple(StoredEvent(event["name"], _value(event["fields"])) for event in form["events"])
    return StoredReceipt(form["vertex"], form["row"], _status(form["status"]), form["refusal"], events)


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        if set(value) == {"integer"}:
            return int(value["integer"])
        return {name: _value(item) for name, item in value.items()}
    return [_value(item) for item in value] if isinstance(value, list) else value


@checked
def item_of(form: Json, transaction_key: bytes) -> HistoryItem:
    """Of `transaction`, once its id is seen to be its record's."""
    record, body = bytes.fromhex(form["record"]), bytes.fromhex(form["body"])
    records = as_records(record)
    transaction_id = transaction_ids(records, transaction_key, body, body_offsets(records, len(body)))
    if transaction_id.hex() != form["id"]:
        raise PeerFault("answer", f"the record is not that of transaction {form['id']}")
    return HistoryItem(
        Digest(transaction_id), _place(form), _status(form["status"]), int(form["time_s"]), record, body
    )


@checked
def page_of(form: Json, transaction_key: bytes) -> HistoryPage:
    """Of `history`."""
    items = tuple(item_of(item, transaction_key) for item in form["items"])
    return HistoryPage(items, None if form["cursor"] is None else int(form["cursor"]))


@checked
def inclusion_of(form: Json) -> tuple[InclusionProof, AnyRef]:
    """Of `inclusion_proof`: the proof, and the vertex that it leads to."""
    proof = InclusionProof(
        bytes.fromhex(form["header"]),
        int(form["row"]),
        bytes.fromhex(form["signature"]),
        bytes.fromhex(form["siblings"]),
    )
    return proof, ref_of(form["vertex"])


@checked
def bond_of(form: Json, network: Network) -> BondState:
    """Of `bond`."""
    owner = form["owner"]
    bond = None
    if owner is not None:
        amounts = int(form["active"]), int(form["leaving"])
        bond = Bond(decode_address(owner, network), *amounts, int(form["ready_s"]))
    return BondState(PublicKey(bytes.fromhex(form["operator"])), bond, bool(form["is_slashed"]))


@checked
def bond_page_of(form: Json, network: Network) -> BondPage:
    """Of `bonds`."""
    return BondPage(
        tuple(bond_of(one, network) for one in form["bonds"]),
        None if form["cursor"] is None else PublicKey(bytes.fromhex(form["cursor"])),
        Totals(int(form["count"]), int(form["burned"])),
    )


@checked
def proof_of(form: Json) -> tuple[CheckpointCertificate, bytes]:
    """Of `account_proof`: who has signed the state, and the proof that leads to it, encoded."""
    return _certificate(form["certificate"]), bytes.fromhex(form["state_proof"])


def _certificate(form: Json) -> CheckpointCertificate:
    checkpoint = Checkpoint(
        Digest(bytes.fromhex(form["chain"])),
        Epoch(form["epoch"]),
        int(form["commit_index"]),
        Digest(bytes.fromhex(form["commit_digest"])),
        Digest(bytes.fromhex(form["state_root"])),
    )
    signatures = [
        CheckpointSignature(ValidatorIndex(int(one["author"])), bytes.fromhex(one["signature"]))
        for one in form["signatures"]
    ]
    return CheckpointCertificate(checkpoint, tuple(signatures))


@checked
def status_of(form: Json) -> LedgerStatus:
    """Of `status`."""
    stats: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in form["mempool"].items()
    }
    return LedgerStatus(
        Digest(bytes.fromhex(form["genesis_digest"])),
        int(form["commit_index"]),
        int(form["time_s"]),
        int(form["checkpoint_index"]),
        bool(form["is_checkpointing"]),
        int(form["open_submissions"]),
        MempoolStats(**stats),
        int(form["stored_bytes"]),
    )


def identity_of(form: Any) -> tuple[Digest, Network]:
    """Which chain, and on which network, of `ledger_info`."""
    try:
        return Digest(bytes.fromhex(form["genesis_digest"])), Network(form["network"])
    except (LookupError, TypeError, ValueError) as error:
        raise PeerFault("answer", f"ledger_info: {error}") from error


def line_of_value(value: bytes | None) -> Line | None:
    """The line that an account's proven value in the state spells."""
    if value is None:
        return None
    balance, *rest = _LINE.unpack(value)
    return Line(Amount(int.from_bytes(balance, "little")), *rest)
