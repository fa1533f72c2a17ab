"""`saescope show`: an entry's or a feature's numbers and examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from saescope.cli.example_lines import show_examples
from saescope.cli.report import count, holds, json_object, json_option, line, metric, number, percent, table
from saescope.cli.show_texts import show_tokens
from saescope.cli.store_option import open_store, store_option
from saescope.store.format.thresholds import DEAD_BOUND_LEVEL, dead_bound
from saescope.store.numbers import one_in
from saescope.store.token_text import visible

if TYPE_CHECKING:
    from saescope.store import Entry

BARS = " ▁▂▃▄▅▆▇█"
PLAIN_BARS = " .:-=+*#@"
"""For terminals whose encoding has no bars."""


@click.command()
@click.argument("sae_id")
@click.argument("feature_id", type=int, required=False)
@click.option(
    "--examples", "n_examples", type=click.IntRange(0, 1000), default=10, show_default=True, help="Examples to show."
)
@store_option
@json_option
def command(sae_id: str, feature_id: int | None, n_examples: int, store: Path, as_json: bool) -> None:
    """Show an entry's numbers or, with FEATURE_ID, one feature's numbers and examples."""
    entry = open_store(store)[sae_id]
    if feature_id is None:
        _show_entry(entry, as_json)
    else:
        _show_feature(entry, feature_id, n_examples, as_json)


def _show_entry(entry: Entry, as_json: bool) -> None:
    manifest = entry.manifest
    rows = entry.table("metrics").to_pylist()
    if as_json:
        json_object({"sae_id": entry.sae_id, "version": entry.version, "manifest": vars(manifest), "metrics": rows})
        return
    line(f"{entry.sae_id}  ({manifest.architecture}, {count(entry.n_features)} features, version {entry.version})")
    line(f"weights   {entry.weights_sha256[:16]}  built {manifest.created_at} by saescope {manifest.saescope_version}")
    source = {k: v for k, v in manifest.source.items() if v is not None and not isinstance(v, (dict, list))}
    line("source    " + ", ".join(f"{k} {v}" for k, v in source.items()))
    line(f"positions {count(entry.n_positions)} for statistics, {count(manifest.n_metric_positions)} for metrics")
    line()
    table(
        ("metric", "value", "formula"),
        [(r["name"], metric(r["name"], r["value"]), r["formula"]) for r in rows],
        right=(1,),
    )


def _show_feature(entry: Entry, feature_id: int, n_examples: int, as_json: bool) -> None:
    feature = entry.feature(feature_id)
    examples = entry.examples(feature_id, kind="top")[:n_examples]
    neighbours = entry.neighbours(feature_id)
    coactivations = entry.coactivations(feature_id)
    if as_json:
        json_object(
            {
                "sae_id": entry.sae_id,
                "feature": feature,
                "examples": examples,
                "neighbours": neighbours,
                "coactivations": coactivations,
                "top_tokens": entry.top_tokens(feature_id),
                "top_logits": entry.top_logits(feature_id),
            }
        )
        return
    name = f"{feature.label_sentence or ''}{' (auto)' if feature.auto_label and not feature.user_label else ''}"
    line(f"{entry.sae_id} #{feature_id}  {'* ' if feature.is_starred else ''}{visible(name)}".rstrip())
    if feature.is_dead:
        bound = f"density < {percent(dead_bound(entry.n_positions))}, {percent(DEAD_BOUND_LEVEL)}"
        line(f"dead: fired at 0 of {count(entry.n_positions)} positions ({bound})")
    else:
        line(f"density       {percent(feature.density)} ({one_in(feature.density)}; {count(feature.n_firing)} firings)")
        values = (number(v) for v in (feature.max_activation, feature.mean_activation, feature.std_activation))
        line("activation    max {}, mean {}, std {}".format(*values))
        line(f"histogram     {_bars(feature.hist_counts)}")
    line(f"decoder norm  {number(feature.decoder_norm)}, encoder bias {number(feature.encoder_bias)}")
    if neighbours:
        near = [f"#{n.neighbour_id} (cosine {number(n.cosine, 2)})" for n in neighbours[:6]]
        line(f"nearest atoms {', '.join(near)}")
    if coactivations:
        pairs = [f"#{c.other_id} (Jaccard {number(c.jaccard, 2)})" for c in coactivations[:6]]
        line(f"fires with    {', '.join(pairs)}")
    show_tokens(entry, feature)
    if examples:
        line()
        show_examples(entry, examples)


def _bars(counts: list[int]) -> str:
    """A histogram as blocks, trimmed to the bins that hold something; heights are relative to the fullest bin."""
    filled = [i for i, c in enumerate(counts) if c]
    if not filled:
        return ""
    shown = counts[filled[0] : filled[-1] + 1]
    top = max(shown)
    bars = BARS if holds(BARS) else PLAIN_BARS
    return "".join(bars[-(-c * (len(bars) - 1) // top)] for c in shown)
