"""The page in a real browser: live, by keyboard, in both palettes, and deaf to whatever a contestant wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from schemas.events import Verdict
from tests.integration.test_verdicts import capacity, judged
from tests.integration.verdicts_rig import Rig, Service, make_rig, queue_report, state_folder

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
ATTACK = '</pre><img src=x onerror="window.hit=1"><script>window.hit=1</script>{{7*7}}<svg/onload=window.hit=1>'
PAGE_MILLIS = 15_000


@pytest.fixture(scope="session")
def rig(kafka_bootstrap: str, postgres_dsn: str) -> Rig:
    return make_rig(kafka_bootstrap, postgres_dsn, state_folder(postgres_dsn))


@pytest.fixture
def service(rig: Rig) -> Iterator[Service]:
    with rig.serving() as running:
        yield running


@asynccontextmanager
async def browsing(address: str, *, width: int = 1280, dark: bool = False) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page, and what its console complained of."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = await browser.new_context(
            viewport={"width": width, "height": 860}, color_scheme="dark" if dark else "light"
        )
        page = await context.new_page()
        page.set_default_timeout(PAGE_MILLIS)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(address)
        try:
            yield page, complaints
        finally:
            await browser.close()


async def test_submissions_arrive_by_themselves_and_open_with_everything(
    rig: Rig, service: Service, tmp_path: Path
) -> None:
    async with browsing(f"{service.url}/#token={rig.tokens['reader']}") as (page, complaints):
        await expect(page.locator("#connection")).to_have_text("live")
        assert rig.tokens["reader"] not in page.url
        entry = rig.entry(verdict=Verdict.TLE, problem="live-arrival", compiler="warning: unused variable")
        async with rig.writing() as hand:
            for event in (entry.received, entry.queued, entry.assigned):
                await hand.write(event)
            row = page.locator(f'tr[data-id="{entry.submission_id}"]')
            await expect(row.locator(".badge")).to_have_text("running")
            for later in (entry.started, entry.completed, entry.concluded):
                await hand.write(later)
        await expect(row.locator(".badge")).to_have_text("TLE")
        await expect(row).to_contain_text("1.00 s")
        await row.locator("a").click()
        await expect(page.locator(".title h1")).to_have_text("live-arrival")
        await expect(page.locator("pre.compiler")).to_have_text("warning: unused variable")
        await expect(page.locator(".tests tbody .bar[data-over=true]")).not_to_have_count(0)
        await expect(page.locator(".timeline li")).to_have_count(6)
        assert "SECRET-INPUT" not in await page.content()
        await page.screenshot(path=tmp_path / "one.png", full_page=True)
        assert complaints == []


@pytest.mark.parametrize("token", ["reader", "jury"])
async def test_nothing_that_a_contestant_wrote_is_interpreted(rig: Rig, service: Service, token: str) -> None:
    entry = rig.entry(
        verdict=Verdict.CE,
        files=((ATTACK[:120], f"int main(){{}} // {ATTACK}\n"), ("<b>x</b>.c", ATTACK)),
        compiler=ATTACK,
        team=ATTACK[:80],
        problem="<img src=x onerror=window.hit=1>",
    )
    async with rig.writing() as hand:
        await hand.judge(entry)
    await asyncio.to_thread(judged, rig, service, entry)
    async with browsing(f"{service.url}/#token={rig.tokens[token]}") as (page, complaints):
        await page.locator(f'tr[data-id="{entry.submission_id}"] a').click()
        await expect(page.locator("pre.compiler")).to_have_text(ATTACK)
        await expect(page.locator("figcaption").first).to_have_text(ATTACK[:120])
        assert await page.evaluate("window.hit") is None
        assert await page.locator("main img, main script, main svg, main b").count() == 0
        assert complaints == []


async def test_a_page_that_was_cut_off_goes_on_where_it_was(rig: Rig) -> None:
    with rig.serving() as first:
        port = int(first.url.rpartition(":")[2])
        async with browsing(f"{first.url}/#token={rig.tokens['reader']}") as (page, _complaints):
            await expect(page.locator("#connection")).to_have_text("live")
            first.kill()
            await expect(page.locator("#connection")).to_have_text("connecting again…")
            entry = rig.entry(problem="while-away")
            async with rig.writing() as hand:
                await hand.judge(entry)
            with rig.serving(port=port):
                row = page.locator(f'tr[data-id="{entry.submission_id}"]')
                await expect(row.locator(".badge")).to_have_text("AC", timeout=PAGE_MILLIS)
                await expect(page.locator("#connection")).to_have_text("live")


async def test_the_keyboard_is_enough(rig: Rig, service: Service) -> None:
    entries = [rig.entry(problem=f"keys-{number}") for number in range(3)]
    async with rig.writing() as hand:
        await hand.judge(*entries)
    await asyncio.to_thread(judged, rig, service, *entries)
    async with browsing(f"{service.url}/#token={rig.tokens['reader']}") as (page, _complaints):
        await expect(page.locator("#rows tr").first).to_contain_text("keys-2")
        for key in ("j", "j", "k", "j"):
            await page.keyboard.press(key)
        await expect(page.locator('tr[aria-selected="true"]')).to_contain_text("keys-1")
        await page.keyboard.press("Enter")
        await expect(page.locator(".title h1")).to_have_text("keys-1")
        await page.keyboard.press("Escape")
        await expect(page.locator("#view-list")).to_be_visible()
        await page.keyboard.press("p")
        await expect(page.locator("#pools-title")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.locator("#view-list")).to_be_visible()
        await page.keyboard.press("/")
        await page.keyboard.type("keys-0")
        await expect(page.locator("#rows tr")).to_have_count(1)


async def test_without_a_good_token_there_is_a_form_and_a_reason(rig: Rig, service: Service) -> None:
    async with browsing(service.url) as (page, _complaints):
        await page.get_by_label("Access token").fill("assize_wrong")
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_role("alert")).to_contain_text("expected a token of this installation")
        await page.get_by_label("Access token").fill(rig.tokens["reader"])
        await page.get_by_role("button", name="Open").click()
        await expect(page.locator("#connection")).to_have_text("live")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.locator("#view-sign-in")).to_be_visible()


@pytest.mark.parametrize("dark", [False, True])
async def test_pools_are_pushed_in_both_palettes_and_fit_a_narrow_screen(
    rig: Rig, service: Service, tmp_path: Path, dark: bool
) -> None:
    address = f"{service.url}/#token={rig.tokens['reader']}"
    async with browsing(address, width=390, dark=dark) as (page, complaints), rig.writing() as hand:
        await expect(page.locator("#view-list")).to_be_visible()
        await page.goto(service.url + "/#/pools")
        await hand.write(capacity(1))
        await hand.write(queue_report(held=3))
        await expect(page.locator(".card")).to_contain_text("pids limit did not hold")
        await expect(page.locator("#view-pools")).to_contain_text("no executor serves c")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(19, 21, 25)" if dark else "rgb(251, 251, 250)")
        await page.screenshot(path=tmp_path / "pools.png")
        assert complaints == []
