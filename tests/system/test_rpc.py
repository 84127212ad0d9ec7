"""Every method of the API against an open ledger: results of the described shape, limits, errors."""

import asyncio
import json
from base64 import b64encode
from dataclasses import replace

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate as validate_openapi
from rpc_rig import ALICE, BOB, CAROL, Api, api

from cherrydag.address import Network, address_of, encode_address
from cherrydag.errors import Closed, InvariantViolation, StorageError
from cherrydag.execution.accounts import Status
from cherrydag.genesis import decode_genesis
from cherrydag.rpc.backend import Faucet
from cherrydag.rpc.description import result_schema
from cherrydag.rpc.limits import RpcLimits
from cherrydag.rpc.schemas import SCHEMAS
from cherrydag.state_proof import ACCOUNTS, decode_state_proof, verify_state_proof
from cherrydag.state_proof import StateKey as Key
from cherrydag.transaction import OPERATION_KIND_MIN, Kind

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = replace(
    RpcLimits(), ids=3, history_items=4, commits_count=3, commit_rows=4, submit_rows=3, batch_calls=5
)
BOB_TEXT = encode_address(address_of(BOB.public_key), Network.DEV)
CAROL_TEXT = encode_address(address_of(CAROL.public_key), Network.DEV)
UNKNOWN = "00" * 32


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory):
    """A ledger with seven transfers to Bob, in six commits at least."""
    folder = tmp_path_factory.mktemp("rpc") / "ledger"
    async with api(folder, LIMITS) as api_:
        ledger = api_.ledger
        for amount in range(1, 7):
            await (await ledger.transfer(ledger.treasury, BOB, amount, fee=3))
        sent = await (await ledger.transfer(BOB, ALICE, 10))
        api_.last_id = sent.id().hex()
        yield api_


def conforms(node: Api, method: str, result: object) -> None:
    """Hold a result to the schema that the description gives for it."""
    schema = result_schema(node.server.methods[method]) | {"components": {"schemas": SCHEMAS}}
    Draft202012Validator(schema).validate(result)


# Results


ARGUMENTS = {
    "ledger_info": {},
    "genesis": {},
    "status": {},
    "balance": {"address": BOB_TEXT},
    "account": {"address": BOB_TEXT},
    "transaction": {"id": "last"},
    "receipt": {"id": "last"},
    "phase": {"id": "last"},
    "submission_status": {"ids": ["last", UNKNOWN]},
    "history": {"address": BOB_TEXT, "limit": 4},
    "inclusion_proof": {"id": "last"},
    "account_proof": {"address": BOB_TEXT},
    "supply": {},
    "bond": {"operator": "last"},
    "bonds": {},
    "commit": {"commit_index": 1},
    "commits": {"first": 1},
    "vertex": {"digest": "vertex"},
    "validators": {},
    "submit": {"records": ""},
    "peers": {},
    "limits": {},
    "mempool_stats": {},
    "rpc.discover": {},
    "rpc_discover": {},
}


@pytest.mark.parametrize("method", list(ARGUMENTS))
async def test_the_result_has_the_described_shape(node, method):
    arguments = {
        name: node.last_id if value == "last" else value for name, value in ARGUMENTS[method].items()
    }
    if method == "vertex":
        arguments["digest"] = (await node.call("commit", 2))["leader"]["digest"]
    if method == "submission_status":
        arguments["ids"] = [node.last_id, UNKNOWN]
    result = await node.call(method, **arguments)
    conforms(node, method, result)
    assert result is not None


async def test_every_method_is_described_and_every_described_one_is_served(node):
    document = await node.call("rpc.discover")
    described = {method["name"] for method in document["methods"]}
    sockets = {name for name, method in node.server.methods.items() if method.needs_socket}
    assert described | {"rpc.discover", "rpc_discover"} == set(node.server.methods)
    assert described - sockets | {"rpc.discover", "rpc_discover"} == {*ARGUMENTS, "faucet"}
    for name in sorted(described):
        _, code = await node.error(name, {"no": 1}, {"such": 1}, 3, 4, 5, 6)
        assert code == ("method_needs_websocket" if name in sockets else "params_count")
    for method in document["methods"]:
        for param in method["params"]:
            Draft202012Validator.check_schema(param["schema"])
        named = {param["name"]: param["required"] for param in method["params"]}
        assert named == {
            param.name: param.is_required for param in node.server.methods[method["name"]].params
        }
    assert (await node.get("/openrpc.json"))[1] == document


async def test_the_paths_are_described_and_every_described_one_is_served(node):
    _, document = await node.get("/openapi.json")
    await asyncio.to_thread(validate_openapi, document)  # it takes longer than a loop may be late
    routes = {
        (route.method.lower(), route.resource.canonical)
        for route in node.server._runner.app.router.routes()
        if route.method != "HEAD"
    }
    assert routes == {(verb, path) for path, item in document["paths"].items() for verb in item}


async def test_the_chain_is_told(node):
    info = await node.call("ledger_info")
    genesis = decode_genesis(bytes.fromhex((await node.call("genesis"))["encoding"]))
    assert info["genesis_digest"] == genesis.digest.hex() == node.ledger.genesis_digest.hex()
    assert info["supply"] == str(genesis.supply)
    assert (await node.call("limits"))["batch_calls"] == 5
    status = await node.call("status")
    assert status["commit_index"] == node.ledger.status().commit_index and status["is_ready"]
    peers = await node.call("peers")
    assert [one["is_self"] for one in peers["validators"]] == [True] and peers["linked_stake"] == "1"
    assert (await node.call("mempool_stats"))["waiting"] == 0


async def test_accounts_are_told(node):
    assert (await node.call("balance", BOB_TEXT))["balance"] == str(21 - 10 - 1)
    assert (await node.call("balance", BOB_TEXT, 5))["balance"] == "0"
    account = await node.call("account", address=BOB_TEXT)
    assert (account["next_nonce"], account["nonce_limit"], account["address"]) == (1, 65, BOB_TEXT)
    supply = await node.call("supply")
    assert supply["total"] == str(10**27) and supply["fees"] == str(6 * 3 + 1)
    assert (await node.call("supply", 77))["total"] == "0"


async def test_transactions_are_told_with_every_field(node):
    item = await node.call("transaction", node.last_id)
    assert len(bytes.fromhex(item["record"])) == 176 and item["id"] == node.last_id
    assert (item["kind"], item["amount"], item["fee"], item["status"]) == (
        Kind.TRANSFER,
        "10",
        "1",
        "applied",
    )
    assert item["sender"] == BOB_TEXT and item["public_key"] == BOB.public_key.hex()
    receipt = await node.call("receipt", node.last_id)
    assert receipt["commit_index"] == item["commit_index"] and receipt["operation"] is None
    phase = await node.call("phase", node.last_id)
    assert phase == {
        "id": node.last_id,
        "phase": "final",
        "commit_index": item["commit_index"],
        "position": 0,
        "status": "applied",
    }


@pytest.mark.parametrize("method", ["transaction", "receipt", "inclusion_proof"])
async def test_what_is_not_final_is_null(node, method):
    assert await node.call(method, UNKNOWN) is None


async def test_an_unknown_id_has_no_phase(node):
    assert await node.call("phase", UNKNOWN) == {"id": UNKNOWN, "phase": None}


async def test_history_pages_newest_first_without_a_gap(node):
    seen, cursor = [], None
    while True:
        page = await node.call("history", address=BOB_TEXT, limit=3, cursor=cursor)
        seen += [int(item["amount"]) for item in page["items"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == [10, 6, 5, 4, 3, 2, 1]


async def test_a_long_history_is_read_in_parts_without_a_gap(tmp_path):
    async with api(tmp_path / "l") as node:
        records = node.transfers(node.ledger.treasury, address_of(BOB.public_key), 130)
        await (await node.ledger.submit(records))
        page = await node.call("history", address=BOB_TEXT, limit=130)
        assert page["cursor"] is None
        assert [item["nonce"] for item in page["items"]] == list(range(129, -1, -1))
        assert len((await node.call("history", address=BOB_TEXT, limit=129))["items"]) == 129


@pytest.mark.parametrize(("list_bytes", "count"), [(50 * 1024, 50), (50 * 1024 + 1, 100)])
async def test_the_bytes_of_a_list_are_bounded(tmp_path, list_bytes, count):
    async with api(tmp_path / "l", replace(RpcLimits(), list_bytes=list_bytes)) as node:
        records = node.transfers(node.ledger.treasury, address_of(BOB.public_key), 130)
        await (await node.ledger.submit(records))
        page = await node.call("history", address=BOB_TEXT, limit=130)
        assert len(page["items"]) == count
        rest = await node.call("history", address=BOB_TEXT, limit=130, cursor=page["cursor"])
        assert rest["items"][0]["nonce"] == 129 - count


async def test_commits_page_without_a_gap(node):
    seen, first = [], 1
    while first is not None:
        page = await node.call("commits", first=first, count=2)
        seen += [commit["commit_index"] for commit in page["commits"]]
        first = page["next"]
    last = node.ledger.status().commit_index
    assert seen == list(range(1, last + 1))
    assert await node.call("commits", first=last + 1) == {"commits": [], "next": None}
    one = await node.call("commit", 1)
    assert one["prev_digest"] == node.ledger.genesis_digest.hex()
    assert (await node.call("commit", 2))["prev_digest"] == one["digest"]


async def test_rows_of_a_commit_page(node):
    index = (await node.call("transaction", node.last_id))["commit_index"]
    whole = await node.call("commit", index)
    assert [row["id"] for row in whole["rows"]] == [node.last_id] and whole["next_row"] is None
    assert (await node.call("commit", index, 0, 0))["next_row"] == 0
    assert (await node.call("commit", index, 5, 2))["rows"] == []


async def test_an_account_proof_holds(node):
    form = await node.call("account_proof", BOB_TEXT)
    state = decode_state_proof(bytes.fromhex(form["state_proof"]))
    key = Key(ACCOUNTS, address_of(BOB.public_key) + bytes(4))
    value = verify_state_proof(state, key, bytes.fromhex(form["certificate"]["state_root"]))
    assert int.from_bytes(value[:16], "little") == int(form["line"]["balance"]) == 10
    absent = await node.call("account_proof", CAROL_TEXT)
    assert absent["line"] is None


# Submission


async def test_a_few_records_are_taken_as_text(tmp_path):
    async with api(tmp_path / "l", LIMITS) as node:
        records = node.transfers(node.ledger.treasury, address_of(BOB.public_key), 3)
        records["signature"][1, 0] ^= 1
        done = await node.call("submit", records=records.tobytes().hex(), wait="final")
        conforms(node, "submit", done)
        assert done["is_settled"]
        first, bad, last = done["transactions"]
        assert first["status"] == last["status"] == "applied"
        assert (bad["phase"], bad["code"]) == ("refused", "transaction_signature")
        text = "base64:" + b64encode(records[:1].tobytes()).decode()
        again = await node.call("submit", records=text, wait="final")
        assert again["transactions"] == [first]
        states = await node.call("submission_status", [first["id"], bad["id"]])
        assert [state["phase"] for state in states] == ["final", None]


@pytest.mark.parametrize(("count", "is_taken"), [(2, True), (3, True), (4, False)])
async def test_the_rows_of_a_submission_are_bounded(node, count, is_taken):
    records = bytes(176 * count).hex()
    if is_taken:
        done = await node.call("submit", records)
        assert [row["code"] for row in done["transactions"]] == ["transaction_unknown_kind"] * count
    else:
        assert await node.error("submit", records) == (-32002, "limit_submit_rows")


async def test_a_submission_that_is_not_whole_is_refused(node):
    assert await node.error("submit", "00" * 175) == (-32000, "submission_records")
    assert await node.error("submit", "00" * 176, "00") == (-32000, "submission_bodies")


# Limits and errors


@pytest.mark.parametrize(
    ("method", "name", "values", "code"),
    [
        ("history", "limit", (3, 4, 5), "param_limit"),
        ("history", "limit", (2, 1, 0), "param_limit"),
        ("commits", "count", (2, 3, 4), "param_count"),
        ("commits", "count", (2, 1, 0), "param_count"),
        ("commits", "first", (2, 1, 0), "param_first"),
        ("commit", "count", (3, 4, 5), "param_count"),
        ("commit", "commit_index", (2, 1, 0), "param_commit_index"),
        ("account_proof", "wait_ms", (1, 0, -1), "param_wait_ms"),
        ("balance", "asset", (2**32 - 2, 2**32 - 1, 2**32), "param_asset"),
    ],
)
async def test_a_parameter_is_bounded(node, method, name, values, code):
    inside, bound, beyond = values
    for value in (inside, bound):
        await node.call(method, **ARGUMENTS[method] | {name: value})
    assert await node.error(method, **ARGUMENTS[method] | {name: beyond}) == (-32602, code)


@pytest.mark.parametrize(("count", "is_taken"), [(2, True), (3, True), (4, False)])
async def test_the_ids_of_a_call_are_bounded(node, count, is_taken):
    ids = [UNKNOWN] * count
    if is_taken:
        assert len(await node.call("submission_status", ids)) == count
    else:
        assert await node.error("submission_status", ids) == (-32002, "limit_ids")


async def test_errors_have_their_number_and_a_stable_code(node):
    assert await node.error("nothing") == (-32601, "method")
    assert await node.error("subscribe_commits") == (-32601, "method_needs_websocket")
    assert await node.error("balance", "devcherry1qqq") == (-32602, "address_length")
    assert await node.error("commit", 10_000) == (-32000, "commit_unknown")
    assert await node.error("faucet", BOB_TEXT) == (-32003, "no_faucet")


async def test_a_batch_is_answered_in_order_without_its_notifications(node):
    calls = [
        {"jsonrpc": "2.0", "id": "a", "method": "limits"},
        {"jsonrpc": "2.0", "method": "limits"},
        1,
        {"jsonrpc": "2.0", "id": None, "method": "nothing"},
        {"jsonrpc": "2.0", "id": 2, "method": "balance", "params": [BOB_TEXT]},
    ]
    status, answers = await node.post(json.dumps(calls))
    assert status == 200
    assert [(answer["id"], answer.get("error", {}).get("code")) for answer in answers] == [
        ("a", None),
        (None, -32600),
        (None, -32601),
        (2, None),
    ]


async def test_notifications_alone_are_answered_with_nothing(node):
    call = {"jsonrpc": "2.0", "method": "balance", "params": ["bad"]}
    assert await node.post(json.dumps(call)) == (204, None)
    assert await node.post(json.dumps([call, call])) == (204, None)


async def test_an_answer_is_bounded_and_so_is_a_batch_of_them(tmp_path):
    call = _call("balance") | {"params": [BOB_TEXT]}
    async with api(tmp_path / "l") as node, node.http.post(node.url, json=call) as response:
        size = len(await response.read())
    for room, is_taken in ((size + 1, True), (size, True), (size - 1, False)):
        async with api(tmp_path / "l", replace(RpcLimits(), response_bytes=room)) as node:
            _, answer = await node.post(json.dumps(call))
            assert ("result" in answer) == is_taken
            assert is_taken or answer["error"]["data"] == {"code": "limit_response_bytes", "limit": room}
            counted = "ok" if is_taken else "limit_response_bytes"
            assert node.server.calls.counts == {("balance", counted): 1}
    for room, taken in ((3 * size + 3, 2), (3 * size + 4, 3), (3 * size + 5, 3)):
        async with api(tmp_path / "l", replace(RpcLimits(), response_bytes=room)) as node:
            _, answers = await node.post(json.dumps([call] * 5))
            assert ["result" in answer for answer in answers] == [True] * taken + [False] * (5 - taken)


def _call(method: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method}


# Trouble


async def test_damage_is_told_and_a_broken_invariant_stops_the_node(tmp_path):
    async with api(tmp_path / "l") as node:
        lookups = node.ledger._running.lookups

        def damaged(*_):
            raise StorageError("the record is damaged")

        def broken(*_):
            raise InvariantViolation("books balance")

        lookups.receipt = damaged
        assert await node.error("receipt", UNKNOWN) == (-32603, "storage")
        lookups.receipt = broken
        async with node.http.post(node.url, json=_call("receipt") | {"params": [UNKNOWN]}) as response:
            assert response.status == 500
        assert isinstance(node.ledger._running.host.failure, InvariantViolation)
        assert await node.error("balance", BOB_TEXT) == (-32003, "stopped")
        assert (await node.get("/livez"))[0] == 503
        status, told = await node.get("/readyz")
        assert status == 503 and told["reasons"][0]["code"] == "stopped"


async def test_a_closed_ledger_is_unavailable(tmp_path):
    async with api(tmp_path / "l") as node:
        node.ledger._running.service.close()

        def closed(*_):
            raise Closed("the ledger is closed")

        node.ledger._running.lookups.line = closed
        assert await node.error("balance", BOB_TEXT) == (-32003, "stopped")


async def test_reads_are_turned_away_first_where_the_loop_is_late(tmp_path, monkeypatch):
    async with api(tmp_path / "l", replace(RpcLimits(), lag_ms=100)) as node:
        for lag_ms, is_taken in ((99, True), (100, True), (101, False)):
            monkeypatch.setattr(type(node.server.backend.lag), "lag_ms", lag_ms)
            answer = await node.answer("balance", BOB_TEXT)
            assert ("result" in answer) == is_taken
        assert answer["error"]["code"] == -32001 and answer["error"]["data"]["retry_after_ms"]
        assert "result" in await node.answer("status")
        assert (await node.get("/livez"))[0] == 503


async def test_calls_in_work_are_bounded(tmp_path):
    async with api(tmp_path / "l", replace(RpcLimits(), calls_open=2)) as node:
        for count, is_taken in ((1, True), (2, False)):
            node.server.calls.open = count
            assert ("result" in await node.answer("status")) == is_taken
        assert await node.error("status") == (-32001, "calls_open")
        node.server.calls.open = 0


async def test_a_scan_of_all_holdings_waits_for_its_turn(tmp_path):
    async with api(tmp_path / "l") as node:
        await node.call("supply", 3)
        node.server.backend._scan_at_s = node.server.backend._loop.time() + 5
        assert await node.error("supply", 3) == (-32001, "supply_scan")
        await node.call("supply", 0)


async def test_the_faucet_gives_once_in_a_while(tmp_path):
    async with api(tmp_path / "l") as node:
        node.server.backend.faucet = Faucet(node.ledger.treasury, 500, pause_s=60)
        gift = await node.call("faucet", BOB_TEXT)
        conforms(node, "faucet", gift)
        assert await node.error("faucet", BOB_TEXT) == (-32001, "faucet_pause")
        state = await node.call("submission_status", [gift["id"]])
        assert state[0]["phase"] is not None
        async for _ in node.ledger.subscribe(after=0):
            break
        assert (await node.call("balance", BOB_TEXT))["balance"] == gift["amount"] == "500"
        node.server.backend._given.clear()
        await node.call("faucet", BOB_TEXT)


async def test_a_module_operation_has_its_receipt(tmp_path):
    async with api(tmp_path / "l") as node:
        sent = await (await node.ledger.operate(node.ledger.treasury, OPERATION_KIND_MIN, b"\1"))
        receipt = await node.call("receipt", sent.id().hex())
        conforms(node, "receipt", receipt)
        assert receipt["status"] in ("applied", "refused")
        assert receipt["operation"]["status"] == receipt["status"] != Status.APPLIED
