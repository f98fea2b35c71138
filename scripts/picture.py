"""Takes the README's picture: the demo in a real browser, after a few trades."""

import asyncio
import tempfile
from pathlib import Path

from pms.client import PmsClient
from tests.support.browser import running_browser
from tests.support.system import running_system

PICTURE = Path("docs/dashboard.png")
SIZE = {"width": 1440, "height": 900}


async def picture() -> None:
    """Start a system, trade a little, log in, and save the page."""
    with tempfile.TemporaryDirectory() as folder:
        async with running_system(Path(folder), ("Alice", "Bob", "Carol"), "10000") as system:
            async with PmsClient(system.url) as client:
                await client.login(system.username, system.password)
                ids = system.accounts
                await client.market(ids["Alice"], "BTC/USDT:USDT", "LONG", "0.4", leverage=10)
                await client.market(ids["Bob"], "BTC/USDT:USDT", "SHORT", "0.25", leverage=10)
                await client.market(ids["Carol"], "ETH/USDT:USDT", "LONG", "6", leverage=20)
                await client.market(ids["Alice"], "ETH/USDT:USDT", "SHORT", "2.5", leverage=10)
                await client.limit(ids["Bob"], "BTC/USDT:USDT", "LONG", "0.1", "61000", leverage=10)
            async with running_browser() as browser:
                page = await browser.new_page(viewport=SIZE)
                await page.goto(system.url)
                await page.get_by_test_id("login-username").fill(system.username)
                await page.get_by_test_id("login-password").fill(system.password)
                await page.get_by_test_id("login-submit").click()
                await page.get_by_test_id("position-row").first.wait_for()
                await page.get_by_test_id("ticket-quantity").fill("0.05")
                await asyncio.sleep(25)
                await page.screenshot(path=PICTURE)


if __name__ == "__main__":
    asyncio.run(picture())
