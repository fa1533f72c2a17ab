"""Finding things on a page in a real browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def part(page: Page, key: str) -> Locator:
    """The element of the widget or component with this key."""
    return page.locator(f".st-key-{re.sub(r'[^a-zA-Z0-9_-]', '-', key)}").first


def address(page: Page) -> dict[str, str]:
    """The parameters in the page's address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}
