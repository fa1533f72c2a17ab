"""One page per module, each with one function `render(store: FeatureStore) -> None`.

Conventions, which every page keeps:

* **The URL is the state.** A page reads what it shows from `st.query_params` (through `state.links`), so
  that its address alone restores it: `feature?sae=mnist-topk-k16&feature=412`. `sae` names the SAE on every page;
  the router adds it when it is missing. Lists are comma-separated (`picked=a,b`).
* Settings (a search text, a sort order, an axis, a page number) are widgets of `controls`: their value is read from
  the address and written there, and Back undoes it. Defaults are left out of the address, so a default is part of a
  link's meaning: do not change it lightly.
* Other moves inside a page (feature to feature, SAE to SAE) call `links.move(feature=413)` in a callback, which adds
  one entry to the browser's history.
* To another page: rows of `components.table` and tiles of `components.picture_tiles` take an `href` and follow it
  inside the session; `links.page_link(label, "feature", sae=..., feature=...)` draws a link, `links.go("feature",
  ...)` goes there now (after a click on a chart), `links.href("feature", ...)` is the address itself.
* Numbers go through `formats`, colours and charts through `theme` and `charts`, reads through `reads`.
* A `UserError` (unknown SAE, unknown feature, bad query) may simply be raised: the router shows it as a panel with a
  way back. Where only a part of the page is affected, call `panels.show(error)` and go on.
* SQL lives in the store, never here. Text from data never reaches the browser as HTML or Markdown: use `st.text`,
  `st.dataframe`, a component's `textContent`, or `formats.plain` inside Markdown.
"""
