"""Every table of a store: its columns, their types and meaning. The one place where the schema is written.

`docs/store-format.md` documents each column and a test holds it against this module. Writers build tables with
`schema_of`, `verify` holds published files against it, and the index is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from saescope.store.format.thresholds import DENSE_DENSITY

FORMAT_NAME = "saescope-store"
FORMAT_VERSION = 1
TABLES_VERSION = 2
"""Raised when a column of the same name and type means something else: see `read.older_tables`."""


EFFECT_KINDS = ("item", "jacobian", "mean")
"""What `kind` of table `effects` may be, in the order of its rows."""
GENERATED_KINDS = ("interpolation", "sample", "traversal_item", "traversal_mean")
"""What `kind` of table `generated` may be, in the order of its rows."""


MAPPED_WIDTHS = (2, 3)
"""Widths of codes that are drawn as they are: their entries have the table `latent_map`."""


@dataclass(frozen=True)
class Column:
    """One column: `nullable` says whether a null can occur, `doc` what a value means (with its unit)."""

    name: str
    type: pa.DataType
    doc: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """One Parquet file of a version.

    `sorted_by` is the order of its rows. `required` tables are in every version. `open` tables may have more columns
    than are listed (an item's metadata, a training run's metrics).
    """

    name: str
    columns: tuple[Column, ...]
    sorted_by: tuple[str, ...]
    required: bool = False
    open: bool = False


_i8, _i16, _i32, _i64 = pa.int8(), pa.int16(), pa.int32(), pa.int64()
_f32, _f64 = pa.float32(), pa.float64()

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        Table(
            "features",
            (
                Column("feature_id", _i32, "index of the feature, from 0"),
                Column("n_firing", _i64, "positions where |activation| exceeds the firing threshold"),
                Column("density", _f64, "n_firing / evaluated positions"),
                Column("mean_activation", _f64, "mean of the activation over firings, signed; null if dead", True),
                Column("std_activation", _f64, "population standard deviation over firings; null if dead", True),
                Column("max_activation", _f32, "activation with the largest magnitude, signed; null if dead", True),
                Column("is_dead", pa.bool_(), "fired at none of the evaluated positions"),
                Column("is_dense", pa.bool_(), f"density > {DENSE_DENSITY}"),
                Column(
                    "decoder_norm",
                    _f32,
                    "Euclidean norm of the atom, in exported (raw) space; null where the SAE has no atoms",
                    True,
                ),
                Column("encoder_bias", _f32, "b_enc of the feature in exported space; null if none", True),
                Column("hist_counts", pa.list_(_i64), "firings in each bin of |activation|; sums to n_firing"),
                Column(
                    "interval_lower", pa.list_(_f32), "lower bound of |activation| of each interval, strongest first"
                ),
                Column("interval_counts", pa.list_(_i64), "firings in each interval; sums to n_firing"),
                Column("auto_label", pa.string(), "name from the items' metadata or tokens; null if none fits", True),
                Column("label_precision", _f64, "fraction of firings that the label describes", True),
                Column("label_recall", _f64, "fraction of the label's positions where the feature fires", True),
                Column("label_base_rate", _f64, "fraction of evaluated positions that the label describes", True),
            ),
            ("feature_id",),
            required=True,
        ),
        Table(
            "examples",
            (
                Column("feature_id", _i32, "the feature"),
                Column("kind", pa.string(), "'top': strongest, at most one per item; 'interval': a fair sample"),
                Column("interval", _i8, "index into the feature's intervals, 0 = strongest; null for top", True),
                Column("rank", _i16, "0 = strongest |activation| of its kind and interval"),
                Column("item_id", _i64, "the item"),
                Column("position", _i32, "position inside the item"),
                Column("activation", _f32, "this feature's activation there, signed"),
                Column("window_start", _i32, "position of the window's first value; null for one-position items", True),
                Column(
                    "window_activations",
                    pa.list_(_f32),
                    "this feature's activation at each position of the window; null for one-position items",
                    True,
                ),
            ),
            ("feature_id", "kind", "interval", "rank"),
            required=True,
        ),
        Table(
            "items",
            (
                Column("item_id", _i64, "index of the item in the source's order"),
                Column("token_ids", pa.list_(_i32), "texts: the tokens", True),
                Column("tokens", pa.list_(pa.string()), "texts: the tokens as text", True),
                Column("image", pa.binary(), "images: PNG bytes", True),
                Column("label", pa.string(), "class or folder name, where the source has one", True),
            ),
            ("item_id",),
            required=True,
            open=True,
        ),
        Table(
            "top_logits",
            (
                Column("feature_id", _i32, "the feature"),
                Column("sign", _i8, "+1: tokens that the atom raises; -1: lowers"),
                Column("rank", _i16, "0 = strongest effect"),
                Column("token_id", _i32, "the token"),
                Column("token", pa.string(), "the token as text"),
                Column("logit", _f32, "effect of the atom on the token's logit, the final norm's division left out"),
            ),
            ("feature_id", "sign", "rank"),
        ),
        Table(
            "top_tokens",
            (
                Column("feature_id", _i32, "the feature"),
                Column("rank", _i16, "0 = most firings"),
                Column("token_id", _i32, "the token"),
                Column("token", pa.string(), "the token as text"),
                Column("n_firing", _i64, "firings on this token"),
                Column("mean_activation", _f64, "mean activation over those firings"),
                Column("n_token", _i64, "evaluated positions with this token"),
                Column("lift", _f64, "share of the feature's firings on this token / share of positions with it"),
            ),
            ("feature_id", "rank"),
        ),
        Table(
            "neighbours",
            (
                Column("feature_id", _i32, "the feature"),
                Column("rank", _i16, "0 = nearest"),
                Column("neighbour_id", _i32, "another feature"),
                Column("cosine", _f32, "cosine of the two atoms in exported space"),
            ),
            ("feature_id", "rank"),
        ),
        Table(
            "effects",
            (
                Column("feature_id", _i32, "the feature"),
                Column("kind", pa.string(), "'item', 'jacobian' or 'mean': at which code, and whether by a step"),
                Column("item_id", _i64, "kind item: the item of the feature's strongest example; else null", True),
                Column("position", _i32, "kind item: the position of that example; else null", True),
                Column("step", _f32, "s, in units of the activation; null for the Jacobian", True),
                Column("values", pa.list_(_f32), "change of the output, raw units; the Jacobian's per unit activation"),
            ),
            ("feature_id", "kind"),
        ),
        Table(
            "latents",
            (
                Column("feature_id", _i32, "the feature, a unit of a variational autoencoder's code"),
                Column("kl", _f64, "mean over evaluated positions of KL(q(z_j|x) || N(0, 1)), nats"),
                Column("variance_of_mean", _f64, "variance over evaluated positions of the mean of q(z_j|x)"),
                Column("is_used", pa.bool_(), "kl > 0.01 nats"),
            ),
            ("feature_id",),
        ),
        Table(
            "generated",
            (
                Column("kind", pa.string(), "'interpolation', 'sample', 'traversal_item' or 'traversal_mean'"),
                Column("series", _i32, "which one of its kind; of traversals 0 = the unit with the largest KL"),
                Column("step", _i16, "place inside the series, from 0"),
                Column("feature_id", _i32, "traversals: the unit that moves; else null", True),
                Column("item_id", _i64, "the item whose code it begins with; null for samples and the mean code", True),
                Column("other_item_id", _i64, "interpolations: the item whose code it ends with; else null", True),
                Column("coordinate", _f64, "traversals: value of the unit; interpolations: share of the other", True),
                Column("values", pa.list_(_f32), "what the code decodes to, raw units, as the source's activations"),
            ),
            ("kind", "series", "step"),
        ),
        Table(
            "coactivations",
            (
                Column("feature_id", _i32, "the feature"),
                Column("rank", _i16, "0 = largest Jaccard index"),
                Column("other_id", _i32, "another feature"),
                Column("n_both", _i64, "evaluated positions where both fire"),
                Column("jaccard", _f64, "n_both / positions where either fires"),
            ),
            ("feature_id", "rank"),
        ),
        Table(
            "item_codes",
            (
                Column("item_id", _i64, "the item"),
                Column("position", _i32, "position inside the item"),
                Column("feature_ids", pa.list_(_i32), "firing features, strongest first"),
                Column("activations", pa.list_(_f32), "their activations"),
            ),
            ("item_id", "position"),
        ),
        Table(
            "latent_map",
            (
                Column("item_id", _i64, "the item"),
                Column("position", _i32, "position inside the item"),
                Column("values", pa.list_(_f32), "the whole code, one activation per feature"),
            ),
            ("item_id", "position"),
        ),
        Table(
            "reconstructions",
            (
                Column("item_id", _i64, "the item"),
                Column("reconstruction", pa.list_(_f32), "the item rebuilt, raw units, in the source's input_shape"),
                Column("mse", _f64, "mean squared error over the item's positions and dimensions, raw units"),
            ),
            ("item_id",),
        ),
        Table(
            "denoising",
            (
                Column("item_id", _i64, "the item"),
                Column("level", _f64, "of the corruption, in the training's units; 0 = the item as it is"),
                Column("method", pa.string(), "'corrupted', 'model', or a classical denoiser's name"),
                Column("values", pa.list_(_f32), "what became of the item, raw units, in the source's input_shape"),
                Column("psnr", _f64, "against the clean item, dB; null where they are equal", True),
                Column("ssim", _f64, "against the clean item; null for items under 7 x 7 pixels", True),
            ),
            ("item_id", "level", "method"),
        ),
        Table(
            "denoising_metrics",
            (
                Column("level", _f64, "of the corruption, in the training's units"),
                Column("method", pa.string(), "as in `denoising`"),
                Column("parameters", pa.string(), "the method's, e.g. sigma=1.0; empty where it has none"),
                Column("psnr", _f64, "mean over the items, dB; null where one of them is equal to the clean one", True),
                Column("ssim", _f64, "mean over the items; null for items under 7 x 7 pixels", True),
                Column("n_items", _i64, "items behind both means, none of them trained on"),
            ),
            ("level", "method"),
        ),
        Table(
            "baselines",
            (
                Column("name", pa.string(), "the method, e.g. pca"),
                Column("n_components", _i32, "atoms that a position may use"),
                Column("l0", _f64, "mean non-zero coefficients per position"),
                Column("mse", _f64, "mean squared error, raw units"),
                Column("fvu", _f64, "fraction of variance unexplained, raw space", True),
            ),
            ("name", "n_components"),
            open=True,
        ),
        Table(
            "metrics",
            (
                Column("name", pa.string(), "the metric"),
                Column("value", _f64, "its value; null where undefined", True),
                Column("n_positions", _i64, "positions that it was computed over"),
                Column("formula", pa.string(), "its definition"),
            ),
            ("name",),
            required=True,
        ),
        Table(
            "training",
            (
                Column("step", _i64, "optimiser step"),
                Column("n_examples", _i64, "positions seen so far"),
            ),
            ("step",),
            open=True,
        ),
    )
}


def schema_of(name: str, extra: tuple[pa.Field, ...] = ()) -> pa.Schema:
    """Arrow schema of table `name`, followed by `extra` fields (only open tables take them)."""
    table = TABLES[name]
    if extra and not table.open:
        raise ValueError(f"table {name!r} takes no further columns")
    own = [pa.field(c.name, c.type, nullable=c.nullable) for c in table.columns]
    return pa.schema([*own, *extra])
