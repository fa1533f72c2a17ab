"""Finding things on a page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Locator, Page


def part(page: Page, key: str) -> Locator:
    """The element of the widget or component with this key."""
    return page.locator(f".st-key-{re.sub(r'[^a-zA-Z0-9_-]', '-', key)}").first


def address(page: Page) -> dict[str, str]:
    """The parameters in the page's address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def boxes_at_rest(page: Page, keys: Sequence[str]) -> list[FloatRect]:
    """Where parts of the page stand, once its fonts are there and nothing has moved for a quarter of a second."""
    page.wait_for_function("() => document.fonts.ready.then(() => document.fonts.status === 'loaded')")
    last: list[FloatRect] | None = None
    for _ in range(40):
        boxes = [box for box in (part(page, key).bounding_box() for key in keys) if box is not None]
        if boxes == last and len(boxes) == len(keys):
            return boxes
        last = boxes
        page.wait_for_timeout(250)
    raise AssertionError(f"parts of {page.url} are missing, or still move after ten seconds: {last}")
