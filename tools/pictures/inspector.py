# Pillow comes with matplotlib, which is installed for `make pictures` only, not where types are checked.
# pyright: basic, reportMissingImports=false
"""Takes a picture of the inspector's page with Chromium."""

from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.async_api import ViewportSize, async_playwright

from tools.pictures.drawing import save

_SIZE: ViewportSize = {"width": 1240, "height": 900}
_SCALE = 1.5
_HISTORY_MILLISECONDS = 20_000
"""How long the page is open before, so that its charts have something to show."""


async def picture(url: str, chromium: str, path: Path) -> None:
    """Open the page for a while and write its upper part into a file.

    Args:
        url: of the inspector, with its token.
        chromium: the program.
        path: of the picture.

    """
    # Without a sandbox, because root and containers have none. It opens only what this program serves.
    options = ["--no-sandbox"]
    async with (
        async_playwright() as driver,
        await driver.chromium.launch(executable_path=chromium, args=options) as browser,
    ):
        page = await browser.new_page(viewport=_SIZE, device_scale_factor=_SCALE, color_scheme="light")
        await page.goto(url)
        await page.wait_for_timeout(_HISTORY_MILLISECONDS)
        # The picture is of a queue, which a payment that ends can empty for a moment.
        await page.locator("#summary [data-level=waiting]").first.wait_for()
        with Image.open(BytesIO(await page.screenshot())) as image:
            save(image, path)
