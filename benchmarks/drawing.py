"""What benchmarks draw: sheets of grey pictures, and charts, which Chromium turns into pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.io
from PIL import Image
from playwright.sync_api import sync_playwright

GAP = 4
"""White pixels between the pictures of a sheet."""
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
DENSITY = 1.5


def write_sheet(rows: Sequence[Sequence[npt.NDArray[np.floating]]], path: Path, scale: int = 1) -> None:
    """Pictures [height, width] of one size, in rows, black at 0 and white at 1, each pixel `scale` pixels wide."""
    height, width = (scale * length for length in rows[0][0].shape)
    longest = max(len(row) for row in rows)
    page = np.full((len(rows) * (height + GAP) + GAP, longest * (width + GAP) + GAP), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = GAP + i * (height + GAP), GAP + j * (width + GAP)
            shown = (255 * picture.clip(0, 1)).round().astype(np.uint8)
            page[top : top + height, left : left + width] = shown.repeat(scale, 0).repeat(scale, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page).save(path)


def write_chart(chart: Mapping[str, Any], path: Path) -> None:
    """A Plotly figure (its layout has width and height) as a picture. Needs Chromium: $CHROMIUM, or the path's."""
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    assert browser_path is not None, "no Chromium is installed; set CHROMIUM to one"
    layout = chart["layout"]
    size = {"width": layout["width"] + 16, "height": layout["height"] + 16}
    path.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        page = browser.new_page(viewport=size, device_scale_factor=DENSITY)
        page.set_content(plotly.io.to_html(chart, config={"displayModeBar": False}, validate=False))
        page.locator(".main-svg").first.wait_for()
        page.locator(".plot-container").screenshot(path=path)
        browser.close()
