"""One page per module, each with one function `render(store: FeatureStore) -> None`.

Conventions, which every page keeps:

* **The URL is the state.** A page reads what it shows from `st.query_params` (through `saescope.dashboard.links`), so
  that its address alone restores it: `feature?sae=mnist-topk-k16&feature=412`. `sae` names the SAE on every page;
  the router adds it when it is missing. Lists are comma-separated (`picked=a,b`).
* Widgets whose value is a plain setting (a search text, a sort order, a page number) use `key=NAME,
  bind="query-params"`. Their defaults are left out of the address, so a default is part of the link's meaning: do not
  change it lightly.
* Moves that deserve the browser's Back button (feature to feature, SAE to SAE) set `st.query_params` in a callback:
  `links.move(feature=413)`. That adds a history entry and Back restores it. Do not bind a widget to such a parameter.
* To another page: `links.page_link(label, "feature", sae=..., feature=...)` draws a link, `links.go("feature", ...)`
  goes there now (after a click on a chart or a table row), `links.href("feature", ...)` is the address for a real
  `<a href>` (works in a new tab, costs a full load).
* Numbers go through `formats`, colours and charts through `theme` and `charts`, reads through `reads`.
* A `UserError` (unknown SAE, unknown feature, bad query) may simply be raised: the router shows it as a panel with a
  way back. Where only a part of the page is affected, call `panels.show(error)` and go on.
* SQL lives in the store, never here. Text from data never reaches the browser as HTML or Markdown: use `st.text`,
  `st.dataframe`, a component's `textContent`, or `formats.plain` inside Markdown.
"""
