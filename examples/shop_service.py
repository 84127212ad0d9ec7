#!/usr/bin/env python3
"""A web service that keeps its customers' money in a ledger of its own, embedded in its process.

    python3 examples/shop_service.py FOLDER [--port 8080]

    POST /customers        {"name": "ann"}                             a key, and 100 coins to begin with
    POST /payments         {"from": "ann", "to": "bob", "amount": 5}   coins
    GET  /customers/NAME   balance and the last payments
    GET  /payments/ID      what became of it

The answer to a payment comes when it is final: executed, and safe from a power cut.
"""

import argparse
from pathlib import Path
from typing import Any

from aiohttp import web

from cherrydag.errors import Overloaded, Rejected
from cherrydag.execution.accounts import Status
from cherrydag.keystore import Keystore
from cherrydag.ledger import AsyncLedger
from cherrydag.runtime.home import COIN

LEDGER = web.AppKey("ledger", AsyncLedger)
CUSTOMERS = web.AppKey("customers", Keystore)
WELCOME = 100 * COIN

routes = web.RouteTableDef()


@routes.post("/customers")
async def add_customer(request: web.Request) -> web.Response:
    """Make a key, and give it the first coins."""
    name = str((await request.json())["name"])
    account = request.app[CUSTOMERS].create(name, None).address
    ledger = request.app[LEDGER]
    await (await ledger.transfer(ledger.treasury, account, WELCOME)).final()
    return web.json_response({"name": name, "coins": WELCOME // COIN}, status=201)


@routes.get("/customers/{name}")
async def show_customer(request: web.Request) -> web.Response:
    """What somebody has, and the newest payments of theirs."""
    ledger, key = request.app[LEDGER], request.app[CUSTOMERS].load(request.match_info["name"], None)
    items = ledger.history(key, limit=10).items
    payments = [{"id": item.transaction_id.hex(), "status": _status(item.status)} for item in items]
    return web.json_response({"coins": ledger.balance(key) // COIN, "payments": payments})


@routes.post("/payments")
async def pay(request: web.Request) -> web.Response:
    """Pay, and answer when that is final."""
    order = await request.json()
    ledger, customers = request.app[LEDGER], request.app[CUSTOMERS]
    sender, recipient = (customers.load(str(order[side]), None) for side in ("from", "to"))
    paid = await (await ledger.transfer(sender, recipient, int(order["amount"]) * COIN)).final()
    status = int(paid.statuses[0])
    answer = {"id": paid.id().hex(), "status": _status(status)}
    return web.json_response(answer, status=200 if status == Status.APPLIED else 409)


@routes.get("/payments/{id}")
async def show_payment(request: web.Request) -> web.Response:
    """What became of a payment."""
    receipt = request.app[LEDGER].receipt(bytes.fromhex(request.match_info["id"]))
    if receipt is None:
        raise web.HTTPNotFound
    return web.json_response({"status": _status(receipt.status), "commit": receipt.place.commit_index})


def _status(number: int) -> str:
    return Status(number).name.lower()


@web.middleware
async def errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    """The ledger's refusals with their stable codes; what is too much now, with a time to come back."""
    try:
        answered: web.StreamResponse = await handler(request)
    except Rejected as refused:
        return web.json_response({"code": refused.code, "message": str(refused)}, status=422)
    except Overloaded as busy:
        wait = {"Retry-After": str(-(-(busy.retry_after_ms or 1000) // 1000))}
        return web.json_response({"code": "overloaded", "message": str(busy)}, status=503, headers=wait)
    except (KeyError, TypeError, ValueError) as error:
        return web.json_response({"code": "request", "message": repr(error)}, status=400)
    return answered


async def make_app(folder: Path) -> web.Application:
    """The service over a folder, whose ledger is closed when the service ends."""
    app = web.Application(middlewares=[errors_as_json])
    app[LEDGER] = await AsyncLedger.open(folder / "ledger")
    app[CUSTOMERS] = Keystore(folder / "customers")
    app.add_routes(routes)
    app.on_cleanup.append(lambda app: app[LEDGER].close())
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    web.run_app(make_app(options.folder), host="127.0.0.1", port=options.port)
