"""How tests start a browser: headless, and with nothing that asks the network by itself."""

import contextlib
from collections.abc import AsyncIterator

from playwright.async_api import Page, async_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.asynccontextmanager
async def browsing(**options) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page of headless Chromium, and the addresses of all that it asks for. What its console complains of fails."""
    asked: list[str] = []
    trouble: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await (await browser.new_context(**options)).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda message: trouble.append(message.text) if "policy" in message.text.lower() else None)
        yield page, asked
        await browser.close()
    assert trouble == []
