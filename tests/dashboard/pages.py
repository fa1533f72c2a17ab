"""Running a page of the dashboard without a browser, and reading what it would show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest


def _page(name: str, path: str) -> None:
    from saescope.dashboard import navigation
    from saescope.dashboard.state import reads

    navigation.renderer(navigation.page(name), reads.open_store(path))()


def run_page(name: str, store: Path, **parameters: str) -> AppTest:
    """The page called `name` at the address with these parameters. Asserts that it shows no exception."""
    at = AppTest.from_function(_page, args=(name, str(store)), default_timeout=120)
    for key, value in parameters.items():
        at.query_params[key] = value
    return checked(at.run())


def checked(at: AppTest) -> AppTest:
    """The same, after asserting that no exception box and no failure of ours is shown."""
    assert not at.exception
    assert "This page failed" not in texts(at)
    return at


def elements(at: AppTest, kind: str) -> list[Any]:
    """Every element of the main part with this protobuf type, in the order of the page."""

    def walk(block: Any) -> Iterator[Any]:
        for child in block.children.values():
            if hasattr(child, "children"):
                yield from walk(child)
            elif child.type == kind:
                yield child

    return list(walk(at.main))


def texts(at: AppTest) -> str:
    """All Markdown and captions, unescaped."""
    return "\n".join(element.value.replace("\\", "") for element in (*at.markdown, *at.caption))


def components(at: AppTest, name: str) -> list[dict[str, Any]]:
    """What the components called `name` were given."""
    found = [element.proto for element in elements(at, "bidi_component")]
    return [json.loads(proto.json) for proto in found if proto.component_name == name]


def tables(at: AppTest) -> list[dict[str, list[str]]]:
    """The tables of a page, each as its columns' titles with the texts below."""
    shown = []
    for data in components(at, "saescope_table"):
        titles = [column["title"] for column in data["columns"]]
        cells = [[cell["text"] for cell in row["cells"]] for row in data["rows"]]
        shown.append({title: [row[i] for row in cells] for i, title in enumerate(titles)})
    return shown


def charts(at: AppTest) -> list[dict[str, Any]]:
    """The Plotly figures of a page."""
    return [json.loads(element.proto.spec) for element in elements(at, "plotly_chart")]
