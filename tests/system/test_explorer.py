"""The explorer in a real browser against a real devnet, as a reader uses it.

Skipped where Chromium or playwright is missing; the accessibility check where explorer/node_modules is.
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from devnet_processes import Devnet
from waiting import PATIENCE_S, wait_until

sys.path[1:1] = [str(Path(__file__).parents[2] / "bench")]

from chromium import CHROMIUM, FLAGS  # noqa: E402

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

AXE = Path(__file__).parents[2] / "explorer" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = PATIENCE_S * 1000
HOLDS = ".checks li.good"
FAILS = ".checks li.bad"
ROWS = "tbody tr"


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    with Devnet(tmp_path_factory.mktemp("explorer") / "t", "--operators", "1", "--load", "60") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, devnet: Devnet) -> Iterator[Any]:
    """At the live DAG. Whatever the browser complains of fails the test."""
    yield from opened(browser, devnet.url)


def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(url)
    yield page
    if folder := os.environ.get("CHERRYDAG_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{os.environ['PYTEST_CURRENT_TEST'].split('::')[-1].split()[0]}.png")
    context.close()
    assert complaints == []


def wait(page: Any, script: str, arg: Any = None) -> None:
    """Until a function holds in the page. Its policy forbids what playwright's own wait does."""
    wait_until(lambda: page.evaluate(script, arg))


def text_of(page: Any, name: str) -> str:
    return str(page.locator(".figures-row div", has_text=name).locator("dd").inner_text())


def wait_for_figures(page: Any) -> None:
    """Until rounds pass and transactions are counted."""
    page.locator(".figures-row").wait_for()
    wait_until(lambda: round_of(page) > 5 and text_of(page, "Transactions a second") != "0")


def number_in(text: str) -> int:
    return int("".join(filter(str.isdigit, text)))


def round_of(page: Any) -> int:
    return number_in(text_of(page, "Round"))


def first_commit(page: Any) -> int:
    """The newest one that the page of commits shows."""
    return number_in(page.locator(ROWS).first.locator("td").first.inner_text())


def test_dag_grows_and_a_vertex_is_chosen_by_key(page: Any) -> None:
    wait_for_figures(page)
    before = round_of(page)
    wait_until(lambda: round_of(page) > before)
    page.focus("canvas")
    page.keyboard.press("ArrowLeft")
    page.locator("aside.detail dd").first.wait_for()
    assert page.get_by_label("Chosen vertex").inner_text().count("round") >= 3  # its parents
    assert "round" in page.get_attribute("canvas", "aria-label")
    page.keyboard.press("Escape")
    page.locator("aside.detail").wait_for(state="detached")


def test_leaders_and_the_main_chain_are_painted(page: Any) -> None:
    wait_for_figures(page)
    cherry = """() => {
      const canvas = document.querySelector('canvas');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let count = 0;
      for (let at = 0; at < data.length; at += 4) {
        if (data[at] > 150 && data[at + 1] < 90 && data[at + 2] < 120) count += 1;
      }
      return count > 500;
    }"""
    wait(page, cherry)


def test_pause_holds_the_view_and_follow_lets_it_go(page: Any) -> None:
    wait_for_figures(page)
    page.get_by_role("button", name="Pause").click()
    picture = "() => document.querySelector('canvas').toDataURL()"
    page.wait_for_timeout(700)  # until what was on its way is drawn
    held = [
        page.evaluate("""() => {
      const canvas = document.querySelector('canvas');
      return canvas.getContext('2d').getImageData(0, canvas.height - 30, canvas.width, 30).data.join();
    }""")
        for _ in range(2)
    ]
    assert held[0] == held[1]
    still = page.evaluate(picture)
    page.get_by_role("button", name="Follow").click()
    wait(page, f"still => ({picture})() !== still", still)


def test_from_a_commit_to_proofs_that_hold(page: Any, devnet: Devnet) -> None:
    page.get_by_role("link", name="Commits").click()
    page.locator(ROWS).nth(5).wait_for()
    with_rows = page.locator(ROWS).filter(has=page.locator("td:nth-child(5)", has_not_text="^0$"))
    with_rows.nth(3).locator("a").first.click()
    page.get_by_role("heading", name="Commit").wait_for()
    page.locator("section a[href^='#/tx/']").first.click()
    page.locator(HOLDS).nth(2).wait_for()
    assert page.locator(HOLDS).count() == 3
    assert page.locator(FAILS).count() == 0
    page.locator("dd a[href^='#/account/']").first.click()
    page.locator(HOLDS).nth(3).wait_for()
    assert page.locator(FAILS).count() == 0
    assert page.locator(".big .amount").inner_text().startswith("999\u202f999.99")
    page.locator(ROWS).first.wait_for()


def test_a_forged_balance_is_told_as_such(browser: Any, devnet: Devnet) -> None:
    forged = opened(browser, "about:blank")
    page = next(forged)

    def between(socket: Any) -> None:
        server = socket.connect_to_server()
        socket.on_message(server.send)

        def answer(message: str) -> None:
            said = json.loads(message)
            result = said.get("result")
            if isinstance(result, dict) and "state_proof" in result:
                proof = result["state_proof"]  # the last bytes are the bucket's: a balance more than there is
                result["state_proof"] = proof[:-72] + ("1" if proof[-72] != "1" else "2") + proof[-71:]
            socket.send(json.dumps(said))

        server.on_message(answer)

    page.route_web_socket("**/ws", between)
    page.goto(f"{devnet.url}#/account/{devnet.ready['user_address']}")
    page.locator(FAILS).wait_for()
    assert "state_proof_root" in page.locator(FAILS).inner_text()
    assert page.locator(HOLDS).count() == 0
    next(forged, None)


def test_search_finds_and_says_what_is_wrong(page: Any, devnet: Devnet) -> None:
    def search(typed: str) -> None:
        page.keyboard.press("/")
        page.get_by_role("searchbox").fill(typed)
        page.keyboard.press("Enter")

    page.wait_for_selector("canvas")
    search("not an id")
    page.get_by_role("alert").filter(has_text="no transaction id").wait_for()
    page.get_by_role("searchbox").blur()
    search("3")
    page.get_by_role("heading", name="Commit 3").wait_for()
    search(devnet.ready["user_address"].upper())
    page.get_by_role("heading", name="Account").wait_for()
    wait(page, "() => document.activeElement.tagName === 'H1'")
    search(devnet.ready["user_address"].replace("1q", "1z", 1))
    page.get_by_role("alert").filter(has_text="checksum").wait_for()
    page.get_by_role("searchbox").blur()
    search("ab" * 32)
    page.get_by_text("does not know this transaction").wait_for()


def test_validators_are_listed_with_their_part(page: Any) -> None:
    page.get_by_role("link", name="Validators").click()
    page.locator(ROWS).nth(3).wait_for()
    rows = page.locator(ROWS).all_inner_texts()
    assert [row.split()[0] for row in rows] == ["v0", "v1", "v2", "v3"]
    assert "This node" in rows[0]
    assert all("25.0 %" in row for row in rows)


def test_a_lost_link_is_told_and_comes_back_without_a_gap(browser: Any, devnet: Devnet) -> None:
    routed = opened(browser, "about:blank")
    page = next(routed)
    sockets: list[Any] = []
    asked: list[Any] = []

    def between(socket: Any) -> None:
        server = socket.connect_to_server()
        sockets.append(socket)

        def ask(message: str) -> None:
            asked.append(json.loads(message))
            server.send(message)

        socket.on_message(ask)
        server.on_message(socket.send)

    page.route_web_socket("**/ws", between)
    page.goto(devnet.url)
    wait_for_figures(page)
    page.goto(f"{devnet.url}/#/commits")
    newest = first_commit(page)
    wait_until(lambda: first_commit(page) > newest)
    asked.clear()
    sockets[-1].close(code=4008, reason="lag cursor=1")
    page.get_by_text("The link to the node is lost").wait_for()
    page.get_by_text("The link to the node is lost").wait_for(state="detached")

    def resumed() -> dict[str, Any]:
        page.wait_for_timeout(50)  # and what the page sends comes in meanwhile
        return {call["method"]: call["params"] for call in asked}

    wait_until(lambda: {"subscribe_dag", "subscribe_commits"} <= set(resumed()))
    assert resumed()["subscribe_dag"]["after"] > 0
    assert resumed()["subscribe_commits"]["after"] > 0
    newest = first_commit(page)
    wait_until(lambda: first_commit(page) > newest)
    shown = page.locator(f"{ROWS} td:first-child").all_inner_texts()
    indices = [number_in(text) for text in shown]
    assert indices == list(range(indices[0], indices[0] - len(indices), -1))
    next(routed, None)


def test_commits_are_followed_only_while_their_page_is_open(browser: Any, devnet: Devnet) -> None:
    """Each feed costs the node: the page at the live DAG reads one."""
    opening = opened(browser, "about:blank")
    page = next(opening)
    asked: list[str] = []

    def listen(socket: Any) -> None:
        socket.on("framesent", lambda data: asked.append(json.loads(data)["method"]))

    page.on("websocket", listen)
    page.goto(devnet.url)
    wait_for_figures(page)
    assert [method for method in asked if "subscribe" in method] == ["subscribe_dag"]
    page.goto(f"{devnet.url}/#/commits")
    newest = first_commit(page)
    wait_until(lambda: first_commit(page) > newest)
    page.goto(f"{devnet.url}/#/")
    wait_for_figures(page)
    feeds = [method for method in asked if "subscribe" in method]
    assert feeds == ["subscribe_dag", "subscribe_commits", "unsubscribe"]
    next(opening, None)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_no_page_is_wider_than_a_narrow_screen(page: Any, devnet: Devnet, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    for path in places(page, devnet):
        page.goto(f"{devnet.url}#/{path}")
        page.locator("main h1").wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not there: run npm ci in explorer/")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_no_serious_findings(page: Any, devnet: Devnet, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    for path in places(page, devnet):
        page.goto(f"{devnet.url}#/{path}")
        page.locator("main h1").wait_for()
        if path == "":
            page.keyboard.press("Tab")
            page.focus("canvas")
            wait_until(lambda: round_of(page) > 5)
            page.keyboard.press("ArrowLeft")
            page.locator("aside.detail dd").first.wait_for()
        page.wait_for_timeout(500)
        page.evaluate(AXE.read_text())  # by the debugger, which the page's policy does not bind
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (path, one["id"], one["nodes"][0]["html"][:200], one["nodes"][0].get("failureSummary", "")[:300])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []


def places(page: Any, devnet: Devnet) -> list[str]:
    """One of each page."""
    page.goto(f"{devnet.url}#/commits")
    page.locator(ROWS).nth(3).wait_for()
    vertex = page.locator("td a[href^='#/vertex/']").first.get_attribute("href")
    page.goto(f"{devnet.url}#/account/{devnet.ready['user_address']}")
    page.locator("main .big").wait_for()
    return [
        "",
        "commits",
        "commit/3",
        f"account/{devnet.ready['user_address']}",
        f"tx/{'ab' * 32}",
        str(vertex).removeprefix("#/"),
        "validators",
        "nothing/here/at/all",
    ]
