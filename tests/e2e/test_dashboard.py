"""The page as its user has it: log in, open opposite sides on two accounts, watch, close one; the identity
holds."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.system import RunningSystem, running_system

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[RunningSystem]:
    async with running_system(tmp_path, accounts=("Alice", "Bob")) as running:
        yield running


def _collect(frame: str | bytes, exposures: list[dict[str, float | bool | None]]) -> None:
    message = json.loads(frame)
    if message["type"] == "exposure_updated":
        exposures.append(message["data"])


async def _select(page: Page, name: str) -> None:
    await page.locator(f'[data-testid=account-row][data-account-name="{name}"]').click()
    await expect(page.get_by_test_id("ticket-account")).to_contain_text(name)


async def _open(page: Page, account: str, side: str, quantity: str) -> None:
    await _select(page, account)
    await page.get_by_test_id("ticket-symbol").select_option("BTC/USDT:USDT")
    await page.get_by_test_id(f"ticket-side-{side.lower()}").click()
    await page.get_by_test_id("ticket-leverage").fill("10")
    await page.get_by_test_id("ticket-quantity").fill(quantity)
    await page.get_by_test_id("ticket-submit").click()
    row = page.locator(f'[data-testid=position-row][data-account-name="{account}"][data-side={side}]')
    await expect(row).to_be_visible(timeout=15_000)


async def _number(page: Page, selector: str) -> float:
    text = await page.locator(selector).get_attribute("data-value")
    assert text is not None
    return float(text)


async def _identity(page: Page, expected: str) -> tuple[float, float, float]:
    """Read the identity once its watermark has reached the expected virtual net; it must hold then and
    before."""
    row = '[data-testid=exposure-row][data-symbol="BTC/USDT:USDT"]'
    await expect(page.locator(row)).to_have_attribute("data-balanced", "true", timeout=10_000)
    shown = page.locator(f"{row} [data-testid=exposure-virtual]")
    await expect(shown).to_have_attribute("data-value", expected, timeout=10_000)
    await expect(page.locator(row)).to_have_attribute("data-balanced", "true")
    virtual = await _number(page, f"{row} [data-testid=exposure-virtual]")
    house = await _number(page, f"{row} [data-testid=exposure-house]")
    exchange = await _number(page, f"{row} [data-testid=exposure-exchange]")
    assert virtual + house == pytest.approx(exchange, abs=1e-12)
    return virtual, house, exchange


async def test_two_accounts_on_opposite_sides(system: RunningSystem, browser: Browser) -> None:
    page = await browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: problems.append(message.text) if message.type == "error" else None,
    )
    exposures: list[dict[str, float | bool | None]] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: _collect(frame, exposures)))
    await page.goto(system.url)
    await page.get_by_test_id("login-username").fill(system.username)
    await page.get_by_test_id("login-password").fill(system.password)
    await page.get_by_test_id("login-submit").click()
    await expect(page.get_by_test_id("connection-state")).to_have_attribute(
        "data-state", "live", timeout=15_000
    )

    await _open(page, "Alice", "LONG", "0.05")
    await _open(page, "Bob", "SHORT", "0.03")

    # Both PnLs move with the recorded ticks; opposite sides of one symbol move against each other.
    for account in ("Alice", "Bob"):
        cell = f'[data-testid=position-row][data-account-name="{account}"] [data-testid=position-pnl]'
        before = await _number(page, cell)
        await expect(page.locator(cell)).not_to_have_attribute("data-value", repr(before), timeout=20_000)
        await expect(page.locator(cell)).to_have_text(re.compile(r"\d"))

    await page.get_by_test_id("tab-exposure").click()
    virtual, _, exchange = await _identity(page, "0.02")
    assert (virtual, exchange) == pytest.approx((0.02, 0.02))
    # The real account behind both, and how far it covers them.
    await expect(page.get_by_test_id("real-account")).to_have_attribute("data-level", "CALM")
    await expect(page.get_by_test_id("coverage")).to_have_text(re.compile(r"^\d+\.\d%$"))

    await page.get_by_test_id("tab-positions").click()
    alice = page.locator('[data-testid=position-row][data-account-name="Alice"]')
    bob = page.locator('[data-testid=position-row][data-account-name="Bob"]')
    await alice.get_by_test_id("position-close").click()
    await expect(alice).to_have_count(0, timeout=15_000)
    await expect(bob).to_be_visible()

    await page.get_by_test_id("tab-exposure").click()
    virtual, _, exchange = await _identity(page, "-0.03")
    assert (virtual, exchange) == pytest.approx((-0.03, -0.03))
    assert problems == []
    # Throughout: every identity that the page was told held, at its watermark.
    assert {told["virtualNet"] for told in exposures} >= {0.05, 0.02, -0.03}
    for told in exposures:
        assert told["balanced"], told
        assert told["exchangeNet"] is not None
        assert float(told["virtualNet"] or 0) + float(told["houseNet"] or 0) == pytest.approx(
            float(told["exchangeNet"]), abs=1e-12
        )
    # What was true when the server went away is not told as true any more.
    await expect(page.get_by_test_id("netting-state")).to_contain_text("Netting holds")
    await system.server.kill()
    await expect(page.get_by_test_id("connection-state")).not_to_have_attribute("data-state", "live")
    await expect(page.get_by_test_id("netting-state")).to_have_text("Netting not live")
    await page.close()
