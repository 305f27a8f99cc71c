"""In a real browser: a hundred creatives by keys, undo, batches, two people at once, a lost connection, small screens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from contracts.decisions import Reason, Role
from review.desk import Desk
from review.site import open_desk

AXE = Path(__file__).resolve().parents[2] / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
expect.set_options(timeout=20_000)  # a busy machine is no fault of the pages
Serve = Callable[[Desk], AbstractContextManager[str]]


@pytest.fixture
def hundred(tmp_path: Path, store_of: Callable[..., Path]) -> Iterator[Desk]:
    opened = open_desk(store_of(tmp_path, 100), f"sqlite:///{tmp_path / 'review.db'}")
    yield opened
    opened.database.close()


@pytest.fixture
def address(hundred: Desk, serve: Serve) -> Iterator[str]:
    with serve(hundred) as found:
        yield found


def wait_for(page: Page, what: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        page.wait_for_timeout(50)


def is_ready(page: Page) -> None:
    page.wait_for_selector("html[data-ready]", state="attached")


def kinds(desk: Desk) -> list[str]:
    return desk.log.table()["kind"].to_list()


def test_a_hundred_creatives_by_keys_alone_in_under_three_minutes(page: Page, address: str, hundred: Desk) -> None:
    page.goto(address)
    began = time.monotonic()
    page.keyboard.press("j")
    reasons = list(Reason)
    for number in range(100):
        if number == 60:  # what was decided has left the filter: the page turns by itself
            expect(page.locator(".card.at")).to_have_attribute("data-id", "c00060", timeout=30_000)
        if number % 4:
            page.keyboard.press("a")
        else:
            page.keyboard.press("r")
            page.keyboard.press(reasons[number // 4 % len(reasons)].key)
    wait_for(page, lambda: len(kinds(hundred)) == 100, 60)
    seconds = time.monotonic() - began
    table = hundred.log.table()
    assert seconds < 180
    assert table["creative_id"].to_list() == [f"c{number:05d}" for number in range(100)]
    assert table["kind"].to_list() == ["approve" if number % 4 else "reject" for number in range(100)]
    said = [reasons[number // 4 % len(reasons)] for number in range(0, 100, 4)]
    assert table["reason"].drop_nulls().to_list() == said


def test_one_creative_by_keys_and_back(page: Page, address: str, hundred: Desk) -> None:
    page.goto(address)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Your next mile 0")
    is_ready(page)
    page.keyboard.press("4")
    expect(page.locator("#told")).to_have_text("Rated 4")
    page.keyboard.press("c")
    page.keyboard.type("j and k are letters here")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("a")
    expect(page.locator(".one")).to_have_attribute("data-id", "c00001")
    wait_for(page, lambda: kinds(hundred) == ["rating", "comment", "approve"])
    is_ready(page)
    page.keyboard.press("u")
    expect(page.locator(".one")).to_have_attribute("data-id", "c00000")
    wait_for(page, lambda: kinds(hundred)[-1] == "undo")
    expect(page.locator(".history")).to_contain_text("j and k are letters here")
    expect(page.locator(".history")).to_contain_text("taken back")
    is_ready(page)
    page.keyboard.press("g")
    expect(page.locator(".card")).to_have_count(60)
    is_ready(page)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()


def test_a_selection_and_then_the_whole_filter(page: Page, address: str, hundred: Desk) -> None:
    page.goto(f"{address}/?concept=k1")
    for _ in range(2):
        page.keyboard.press("j")
        page.keyboard.press("x")
    expect(page.locator(".scope")).to_have_text("2 selected")
    page.keyboard.press("Shift+A")
    expect(page.locator("h1")).to_have_text("Approve 2 creatives?")
    expect(page.get_by_role("button", name="Yes")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".card.approved")).to_have_count(2)
    page.goto(f"{address}/?status=undecided")
    is_ready(page)
    page.keyboard.press("Shift+R")
    expect(page.locator("h1")).to_have_text("Reject 98 creatives: too dark?")
    expect(page.get_by_role("button", name="Yes")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_be_visible()
    assert kinds(hundred) == ["approve"] * 2 + ["reject"] * 98
    is_ready(page)
    page.keyboard.press("u")
    wait_for(page, lambda: kinds(hundred).count("undo") == 98)


def test_two_people_at_once_lose_nothing(browser: Browser, hundred: Desk, serve: Serve) -> None:
    names = ("ann", "bob")
    for name in names:
        hundred.accounts.add(name, "long enough 1", Role.REVIEWER)
    with serve(hundred) as address:
        pages = [browser.new_context().new_page() for _ in names]
        for page, name in zip(pages, names, strict=True):
            page.goto(address)
            page.fill('[name="name"]', name)
            page.fill('[name="password"]', "long enough 1")
            page.keyboard.press("Enter")
            expect(page.locator(".card")).to_have_count(60, timeout=20_000)
            is_ready(page)
            page.keyboard.press("j")
            expect(page.locator(".card.at")).to_have_count(1)
        for _ in range(30):
            pages[0].keyboard.press("a")
            pages[1].keyboard.press("r")
            pages[1].keyboard.press("u")
        wait_for(pages[0], lambda: len(kinds(hundred)) == 60)
    table = hundred.log.table()
    for name, kind in (("ann", "approve"), ("bob", "reject")):
        mine = table.filter(table["reviewer"] == name)
        assert mine["kind"].to_list() == [kind] * 30
        assert mine["creative_id"].to_list() == [f"c{number:05d}" for number in range(30)]
    standing = hundred.one("shop-1", "c00000")[1]
    assert standing.disagreed


def test_a_lost_connection_and_a_lost_answer_cost_no_decision_and_repeat_none(
    page: Page, address: str, hundred: Desk
) -> None:
    page.goto(address)
    page.keyboard.press("j")
    for _ in range(5):
        page.keyboard.press("a")
    wait_for(page, lambda: len(kinds(hundred)) == 5)
    page.context.set_offline(True)
    for _ in range(10):
        page.keyboard.press("a")
    expect(page.locator("#told")).to_contain_text("10 decisions wait")
    assert len(kinds(hundred)) == 5
    page.context.set_offline(False)
    wait_for(page, lambda: len(kinds(hundred)) == 15)
    lost = []

    def lose_the_answer(route) -> None:  # type: ignore[no-untyped-def]
        route.fetch()
        lost.append(1)
        route.abort()

    page.route("**/act", lose_the_answer, times=2)
    for _ in range(5):
        page.keyboard.press("a")
    wait_for(page, lambda: len(kinds(hundred)) == 20)
    expect(page.locator("#told")).to_contain_text("All decisions are recorded")
    assert len(lost) == 2
    assert hundred.log.table()["creative_id"].to_list() == [f"c{number:05d}" for number in range(20)]
    assert page.evaluate("JSON.parse(localStorage['adloom-outbox:local']).length") == 0


def test_a_page_that_was_closed_with_decisions_waiting_sends_them_when_opened_again(
    page: Page, address: str, hundred: Desk
) -> None:
    page.goto(address)
    page.keyboard.press("j")
    page.context.set_offline(True)
    for _ in range(3):
        page.keyboard.press("a")
    expect(page.locator("#told")).to_contain_text("3 decisions wait")
    other = page.context.new_page()
    page.close()
    other.context.set_offline(False)
    other.goto(address)
    wait_for(other, lambda: len(kinds(hundred)) == 3)


def test_blind_pairs_by_arrow_keys(page: Page, address: str, hundred: Desk) -> None:
    page.goto(f"{address}/compare?concept=k0")
    for number in range(6):
        expect(page.locator(".pair form")).to_have_count(2)
        is_ready(page)
        page.keyboard.press("ArrowLeft" if number % 2 else "ArrowRight")
        wait_for(page, lambda: len(kinds(hundred)) == number + 1)  # noqa: B023 - called at once
        page.wait_for_load_state("load")
    expect(page.locator(".empty")).to_be_visible()


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize(
    "path", ["/", "/creative?of=shop-1&id=c00001", "/compare", "/audit", "/trust", "/export", "/?text=nothing+like+it"]
)
def test_nothing_sticks_out_and_axe_finds_nothing_serious(
    page: Page, address: str, hundred: Desk, width: int, path: str
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm install --prefix .axe axe-core")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    serious = [
        (one["id"], [node["target"] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
    assert serious == []


def test_whoever_wants_less_motion_gets_none(browser: Browser, address: str) -> None:
    moving = """[...document.querySelectorAll('*')].filter((one) => {
        const style = getComputedStyle(one);
        return parseFloat(style.transitionDuration) > 0 || style.animationName !== 'none' || style.scrollBehavior === 'smooth';
    }).length"""
    for wish, still in (("reduce", True), ("no-preference", False)):
        page = browser.new_context(reduced_motion=wish).new_page()
        page.goto(address)
        assert (page.evaluate(moving) == 0) is still, wish


def test_the_pages_work_with_scripts_switched_off(browser: Browser, address: str, hundred: Desk) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    page.locator(".card .picture").first.click()
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".one")).to_have_attribute("data-id", "c00001")
    page.get_by_role("button", name="looks fake").click()
    page.get_by_role("link", name="Gallery").first.click()
    page.locator(".pick").first.click()
    page.get_by_role("button", name="Reject").click()
    page.get_by_role("button", name="Yes, reject 1").click()
    assert kinds(hundred) == ["approve", "reject", "reject"]
