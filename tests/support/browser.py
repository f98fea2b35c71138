"""Finds and starts the Chromium of the machine for browser tests."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

CHROMIUM_SETTING = "PMS_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing but the page under test may use the network; playwright adds --no-sandbox itself, which root needs.
OPTIONS = (
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--no-first-run",
)


class BrowserMissing(RuntimeError):
    """There is no Chromium on this machine; the message says what to install."""


def chromium() -> str:
    """The path of Chromium: by setting, else the first known name on the PATH. Raises BrowserMissing."""
    for name in (os.environ.get(CHROMIUM_SETTING), *NAMES):
        if name and (found := shutil.which(name)):
            return found
    raise BrowserMissing(
        "no Chromium for the browser tests: install it (Debian: apt-get install chromium fonts-dejavu-core) "
        f"or set {CHROMIUM_SETTING} to its program"
    )


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """A headless Chromium for one test; it ends with the block, and with the process when that is killed."""
    program = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, headless=True, args=list(OPTIONS))
        try:
            yield browser
        finally:
            await browser.close()
