"""The kill switch as an administrator has it: nothing happens before the second question is answered."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from pms.client import PmsClient
from tests.support.system import RunningSystem, running_system

pytestmark = pytest.mark.timeout(120)
BTC = "BTC/USDT:USDT"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[RunningSystem]:
    async with running_system(tmp_path, accounts=("Alice", "Bob")) as running:
        yield running


async def test_flatten_one_account_then_halt_all_then_release(
    system: RunningSystem, browser: Browser
) -> None:
    async with PmsClient(system.url) as client:
        await client.login(system.username, system.password)
        await client.market(system.accounts["Alice"], BTC, "LONG", "0.03", leverage=10)
        await client.market(system.accounts["Bob"], BTC, "SHORT", "0.02", leverage=10)
    page = await browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    await page.goto(system.url)
    await page.get_by_test_id("login-username").fill(system.username)
    await page.get_by_test_id("login-password").fill(system.password)
    await page.get_by_test_id("login-submit").click()
    switch, submit = page.get_by_test_id("kill-switch"), page.get_by_test_id("kill-submit")
    alice = page.locator('[data-testid=position-row][data-account-name="Alice"]')
    bob = page.locator('[data-testid=position-row][data-account-name="Bob"]')
    await expect(alice).to_be_visible(timeout=15_000)
    await expect(switch).to_have_attribute("data-level", "NONE")

    await switch.click()
    await page.get_by_test_id("kill-level-flatten").check()
    await page.get_by_test_id("kill-confirm").check()
    # Another target asks again: the yes was for everybody.
    await page.get_by_test_id("kill-scope").select_option(label="Alice")
    await expect(submit).to_be_disabled()
    await page.get_by_test_id("kill-reason").fill("drill")
    await page.get_by_test_id("kill-confirm").check()
    await submit.click()
    await expect(alice).to_have_count(0, timeout=15_000)
    await expect(bob).to_be_visible()
    await expect(switch).to_contain_text("Flattened")

    await switch.click()
    await expect(page.get_by_test_id("kill-entry")).to_contain_text(["Alice"])
    await page.get_by_test_id("kill-level-halt").check()
    await page.get_by_test_id("kill-confirm").check()
    await submit.click()
    await expect(switch).to_have_attribute("data-level", "HALT")
    await expect(switch).to_have_attribute("data-entries", "2")

    await switch.click()
    await page.get_by_test_id("kill-level-release").check()
    await page.get_by_test_id("kill-confirm").check()
    await submit.click()
    await expect(switch).to_have_attribute("data-level", "NONE")
    await expect(switch).to_have_attribute("data-entries", "1")

    await switch.click()
    await page.get_by_test_id("kill-pick").click()
    await expect(page.get_by_test_id("kill-scope")).to_have_value(system.accounts["Alice"])
    await page.get_by_test_id("kill-confirm").check()
    await submit.click()
    await expect(switch).to_have_attribute("data-entries", "0")
    assert problems == []
