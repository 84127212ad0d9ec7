"""What the methods do: each takes the backend and its bound parameters, and returns JSON. No rule is here."""

import asyncio
from collections.abc import Sequence
from typing import Final

from cherrydag import __version__
from cherrydag.address import encode_address
from cherrydag.errors import Rejected, ShapeError
from cherrydag.params import NONCE_WINDOW
from cherrydag.primitives import Address, Digest, Peer, PublicKey, ValidatorIndex
from cherrydag.rpc import forms
from cherrydag.rpc.backend import Backend, unknown_commit
from cherrydag.rpc.forms import Json
from cherrydag.rpc.health import linked_stake, readiness
from cherrydag.rpc.jsonrpc import over_limit
from cherrydag.runtime.lookups import HistoryItem
from cherrydag.runtime.peers import Peers
from cherrydag.runtime.submissions import Phase
from cherrydag.transaction import as_records

_PAGE: Final = 50
"""Rows that are made between two turns of the loop."""

_COMMITS: Final = 8
"""Commits that are read between two turns of the loop."""

_BANS: Final = 100
"""Bans that are listed."""

# Of the chain and the node


def ledger_info(api: Backend) -> Json:
    """The genesis in short."""
    genesis = api.running.home.genesis
    return {
        "name": genesis.name,
        "network": genesis.network.value,
        "genesis_digest": genesis.digest.hex(),
        "created_ms": genesis.created_ms,
        "supply": str(genesis.supply),
        "modules": list(genesis.modules),
        "kinds": list(api.running.service.rules.kinds),
        "validators": [
            {"name": one.name, "public_key": one.public_key.hex(), "stake": str(one.stake)}
            for one in genesis.validators
        ],
        "fee_min": str(genesis.ledger_params.fee_min),
        "checkpoint_commits": genesis.chain_params.checkpoint_commits,
        "tree_depth": genesis.ledger_params.tree_depth,
        "version": __version__,
    }


def genesis(api: Backend) -> Json:
    """The genesis, whole."""
    genesis = api.running.home.genesis
    return {"digest": genesis.digest.hex(), "encoding": genesis.encoding.hex()}


def status(api: Backend) -> Json:
    """Where the node stands."""
    status, host = api.ledger.status(), api.running.host
    reasons = readiness(api.running, api.node)
    return {
        **status._asdict(),
        "genesis_digest": status.genesis_digest.hex(),
        "mempool": status.mempool._asdict(),
        "round": 0 if host is None else host.node.engine.clock_round,
        "validator": None if host is None else host.node.me,
        "is_ready": not reasons,
        "reasons": [reason._asdict() for reason in reasons],
        "version": __version__,
    }


def peers(api: Backend) -> Json:
    """The validators, and which are linked; the links, and who is refused."""
    validators = api.running.home.genesis.validators
    links = {} if api.node is None else api.node.peers.links
    me = None if api.running.host is None else api.running.host.node.me
    linked = [Peer(index) in links for index in range(len(validators))]
    stake, quorum = linked_stake(api.running, api.node)
    return {
        "validators": [
            {
                "index": index,
                "name": one.name,
                "public_key": one.public_key.hex(),
                "stake": str(one.stake),
                "is_self": ValidatorIndex(index) == me,
                "is_linked": linked[index],
            }
            for index, one in enumerate(validators)
        ],
        "links": [] if api.node is None else _links(api.node.peers),
        "bans": [] if api.node is None else _bans(api.node.peers),
        "others": len(links) - sum(linked),
        "linked_stake": str(stake),
        "quorum_stake": str(quorum),
    }


def _links(peers: Peers) -> list[Json]:
    now_ms = peers.transport.clock()
    return [
        {
            "validator": line.validator,
            "public_key": line.key.hex(),
            "address": f"[{line.host}]:{line.port}" if ":" in line.host else f"{line.host}:{line.port}",
            "is_ours": line.is_ours,
            "age_ms": now_ms - line.since_ms,
            "rtt_ms": line.rtt_ms,
            "bytes_in": line.bytes_in,
            "bytes_out": line.bytes_out,
            "faults": line.faults,
            "last_fault": line.last_fault,
        }
        for line in peers.lines()
    ]


def _bans(peers: Peers) -> list[Json]:
    now_ms = peers.transport.clock()
    return [
        {"public_key": ban.key.hex(), "left_ms": max(0, ban.until_ms - now_ms), "text": ban.text}
        for ban in peers.bans()[:_BANS]
    ]


def limits(api: Backend) -> Json:
    """The bounds of the API."""
    return api.limits.as_dict()


def mempool_stats(api: Backend) -> Json:
    """What waits, and what was."""
    return api.running.service.mempool.stats()._asdict()


async def faucet(api: Backend, address: Address) -> Json:
    """A gift."""
    submission = await api.give(address)
    amount = 0 if api.faucet is None else api.faucet.amount
    return {"id": submission.id().hex(), "amount": str(amount)}


# Of accounts


def balance(api: Backend, address: Address, asset: int) -> Json:
    """A balance."""
    return {"balance": str(api.ledger.balance(address, asset)), "commit_index": api.commit_index}


def account(api: Backend, address: Address) -> Json:
    """An account."""
    view = api.ledger.account(address)
    base = api.running.lookups.line(address).nonce_base
    return {
        "address": encode_address(address, api.network),
        "balance": str(view.balance),
        "next_nonce": view.next_nonce,
        "nonce_limit": base + NONCE_WINDOW,
        "flags": view.flags,
        "commit_index": view.commit_index,
    }


async def history(api: Backend, address: Address, limit: int, cursor: int | None) -> Json:
    """A page of an account's transactions; it ends early rather than being too large."""
    made: list[Json] = []
    size = 0
    while len(made) < limit:
        page = api.ledger.history(address, min(_PAGE, limit - len(made)), cursor)
        made += forms.item_forms(page.items, api.network)
        size += sum(map(_json_bytes, page.items))
        cursor = page.cursor
        if cursor is None or size >= api.limits.list_bytes:
            break
        await api.reads.enter()
    return {"items": made, "cursor": None if cursor is None else str(cursor)}


def _json_bytes(item: HistoryItem) -> int:
    return 1024 + 2 * len(item.body)


async def account_proof(api: Backend, address: Address, asset: int, wait_ms: int) -> Json:
    """Proof of a line as of a certified checkpoint, waited for."""
    try:
        async with asyncio.timeout(wait_ms / 1000):
            proof = await api.ledger.proof(address, asset)
    except TimeoutError:
        raise Rejected(
            "proof_uncertified", f"proof: no checkpoint of the present state was signed within {wait_ms} ms"
        ) from None
    return forms.proof_form(proof, api.network)


def supply(api: Backend, asset: int) -> Json:
    """How much there is."""
    supply = api.supply(asset)
    return {"total": str(supply.total), "fees": str(supply.fees), "commit_index": api.commit_index}


def bond(api: Backend, operator: Digest) -> Json:
    """What an operator key has at stake."""
    return forms.bond_form(api.ledger.bond(PublicKey(operator)), api.network)


def bonds(api: Backend, after: Digest | None, limit: int) -> Json:
    """A page of what operators have at stake."""
    page = api.ledger.bonds(None if after is None else PublicKey(after), limit)
    return {
        "bonds": [forms.bond_form(state, api.network) for state in page.bonds],
        "cursor": None if page.cursor is None else page.cursor.hex(),
        "count": page.totals.bonds,
        "burned": str(page.totals.burned),
        "commit_index": api.commit_index,
    }


# Of transactions


def transaction(api: Backend, id: Digest) -> Json | None:  # noqa: A002 - the parameter's name
    """A final transaction."""
    item = api.ledger.transaction(id)
    return None if item is None else forms.item_forms([item], api.network)[0]


def receipt(api: Backend, id: Digest) -> Json | None:  # noqa: A002
    """What became of one."""
    receipt = api.ledger.receipt(id)
    return None if receipt is None else forms.receipt_form(receipt)


def phase(api: Backend, id: Digest) -> Json:  # noqa: A002
    """How far one has come."""
    return state_of(api, id)


def state_of(api: Backend, transaction_id: Digest) -> Json:
    """How far a transaction has come, with its place and status if it is final."""
    phase = api.ledger.phase(transaction_id)
    state: Json = {"id": transaction_id.hex(), "phase": None if phase is None else forms.PHASES[phase]}
    found = api.running.lookups.outcome(transaction_id) if phase is Phase.FINAL else None
    if found is not None:
        state |= forms.place_form(found.place)
        state["status"] = forms.status_name(found.status)
    return state


async def submission_status(api: Backend, ids: Sequence[Digest]) -> list[Json]:
    """How far some have come."""
    made = []
    for at, transaction_id in enumerate(ids):
        if at % _PAGE == _PAGE - 1:
            await api.reads.enter()
        made.append(state_of(api, transaction_id))
    return made


def inclusion_proof(api: Backend, id: Digest) -> Json | None:  # noqa: A002
    """Proof that a vertex carries one."""
    receipt, proof = api.ledger.receipt(id), api.ledger.inclusion(id)
    return None if receipt is None or proof is None else forms.inclusion_form(proof, receipt)


async def submit(api: Backend, records: bytes, bodies: bytes, wait: str, wait_ms: int) -> Json:
    """Hand in a few records."""
    try:
        taken = as_records(records)
    except ShapeError as error:
        raise Rejected("submission_records", str(error)) from None
    if len(taken) > api.limits.submit_rows:
        raise over_limit("submit_rows", "records of a submission", api.limits.submit_rows, len(taken))
    submission = await api.submit(taken, bodies, wait_for_room=False)
    is_settled = await api.settle(submission, wait_ms if wait == "final" else 0)
    return {"is_settled": is_settled, "transactions": forms.submission_forms(submission)}


# Of commits


async def commit(api: Backend, commit_index: int, first: int, count: int) -> Json:
    """A commit with some of its rows."""
    event = api.event(commit_index)
    commit = event.sub_dag.commit
    form = forms.commit_form(commit, event.vertex_statuses)
    last = min(len(event.records), first + count)
    made: list[Json] = []
    for start in range(first, last, _PAGE):
        made += forms.row_forms(event, range(start, min(last, start + _PAGE)), api.network)
        await api.reads.enter()
    listed_max = api.limits.commit_rows
    form["vertex_refs"] = [forms.ref_form(ref) for ref in commit.vertices[:listed_max]]
    form["operations"] = [forms.operation_form(receipt) for receipt in event.receipts[:listed_max]]
    form["rows"] = made
    form["next_row"] = last if last < len(event.records) else None
    return form


async def commits(api: Backend, first: int, count: int) -> Json:
    """Commits, summed up; a page ends early rather than taking too long."""
    store, loop = api.running.store, asyncio.get_running_loop()
    until_s = loop.time() + api.limits.read_ms / 1000
    last = min(api.commit_index, first + count - 1)
    made: list[Json] = []
    index = first
    while index <= last and (not made or loop.time() < until_s):
        commits = store.commits(index, min(last, index + _COMMITS - 1))
        if not commits:
            raise unknown_commit(index, api.commit_index)
        for commit in commits:
            outcome = store.outcome(commit.index)
            if outcome is None:  # it waits to be written
                last = commit.index - 1
                break
            made.append(forms.commit_form(commit, outcome.statuses))
            index = commit.index + 1
        await api.reads.enter()
    return {"commits": made, "next": index if index <= api.commit_index else None}
