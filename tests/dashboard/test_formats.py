"""Text from data on a page."""

from __future__ import annotations

from saescope.dashboard import formats


def test_plain_leaves_no_markdown_or_html_alive() -> None:
    text = "**a** [b](http://c) <i>d</i> :red[e] $x$ `f`\n# g"
    shown = formats.plain(text)
    for special in "*[<:$`#":
        assert f"\\{special}" in shown
        assert special not in shown.replace(f"\\{special}", "")
    assert "\n" not in shown
