"""Texts: examples as marked lines, the tokens that fire a feature and those that its atom raises and lowers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from saescope.dashboard import theme
from saescope.dashboard.components.position_codes import text_stage
from saescope.dashboard.components.token_lists import TokenList, TokenRow, token_lists
from saescope.dashboard.components.token_strips import Strip, token_strips
from saescope.dashboard.presentation.hooks import place_words
from saescope.dashboard.presentation.metadata import about, about_lines
from saescope.dashboard.presentation.presenter import MOST, Items, Presenter, written
from saescope.dashboard.state import links
from saescope.store.format.source import TextDescription
from saescope.store.numbers import count, percent, short_count, signed, significant
from saescope.store.search.query import quoted
from saescope.store.token_text import visible

if TYPE_CHECKING:
    from saescope.store.records import Example, TopLogit, TopToken

N_ROWS = 10
"""Rows of the lists that there is always place for."""

LINE = 26
"""Height of a line of an example in CSS pixels."""


class Texts(Presenter):
    """A position is a token."""

    describes: ClassVar = (TextDescription,)
    by_position: ClassVar[bool] = True
    has_contexts: ClassVar[bool] = True
    has_lists: ClassVar[bool] = True
    takes_texts: ClassVar[bool] = True
    positions: ClassVar[str] = "tokens"
    search_example: ClassVar[str] = 'token:def, raises:self, text:"some words", label words, density < 0.01'
    search_help: ClassVar[str] = (
        "`token:def` finds features that fire on the token, whatever its case and the space before it; "
        '`token:" def"` exactly this one. `raises:self` and `lowers:self`: what the atom does to the next '
        'token. `text:"some words"`: text inside the examples.'
    )

    @property
    def about(self) -> list[str]:
        source = self.entry.source
        return place_words(source) if isinstance(source, TextDescription) else []

    def stage(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        return text_stage(item["tokens"], item.get("token_ids")) if item.get("tokens") else None

    @property
    def room(self) -> int:
        return MOST * LINE

    def can_draw(self, item: Mapping[str, Any]) -> bool:
        return bool(item.get("tokens"))

    def draw_examples(
        self, examples: Sequence[Example], items: Items, *, key: str, strongest: float, whole: bool
    ) -> None:
        """Draw `examples` of one feature as lines, in the order given."""
        strips = []
        for example in examples:
            item = items[example.item_id]
            activations, start = example.window_activations, example.window_start
            if activations is None or start is None:
                activations, start = [example.activation], example.position
            strips.append(
                Strip(
                    example.item_id,
                    example.position,
                    written(example.activation),
                    float(example.activation),
                    item["tokens"],
                    item.get("token_ids"),
                    activations,
                    start,
                    about(item),
                    "\n".join([*about_lines(item), "click: what fires at each of its tokens"]),
                )
            )
        token_strips(
            strips,
            key=key,
            label="Examples",
            strongest=strongest,
            href=links.href("reconstructions", sae=self.entry.sae_id, feature=examples[0].feature_id) + "&item=",
            whole=whole,
            room=MOST,
        )

    def show_lists(self, feature_id: int, n_firing: int, *, key: str) -> None:
        """The tokens that fire a feature, and those that its atom raises and lowers."""
        colours = theme.DIVERGING[theme.scheme()]
        tokens, logits = self.entry.top_tokens(feature_id), self.entry.top_logits(feature_id)
        lists = []
        if self.entry.has_table("top_tokens"):
            lists.append(
                TokenList(
                    "fires on",
                    ("firings", "mean", "lift"),
                    "tokens at which the feature fires, most firings first; the bar is their share of all its firings\n"
                    "mean: of the activation over those firings\n"
                    "lift: share of the feature's firings on the token / share of all positions with it",
                    theme.ACTIVATION,
                    [_firing_row(token, n_firing) for token in tokens[:N_ROWS]],
                )
            )
        if self.entry.has_table("top_logits"):
            largest = max((abs(logit.logit) for logit in logits), default=1.0) or 1.0
            effect = "effect of one unit of the atom on the token's logit, through the final norm and the unembedding"
            for sign, title, colour in ((1, "raises", colours[2]), (-1, "lowers", colours[0])):
                chosen = [logit for logit in logits if logit.sign == sign][:N_ROWS]
                rows = [_logit_row(logit, title, largest) for logit in chosen]
                lists.append(TokenList(title, ("logit",), f"tokens that the atom {title} most\n{effect}", colour, rows))
        if lists:
            token_lists(lists, key=key, href=links.href("features", sae=self.entry.sae_id) + "&q=", room=N_ROWS)


def _firing_row(token: TopToken, n_firing: int) -> TokenRow:
    share = token.n_firing / max(n_firing, 1)
    tip = (
        f"“{visible(token.token)}” (token {token.token_id})\n"
        f"{count(token.n_firing)} firings, {percent(share)} of all of the feature's\n"
        f"fires at {percent(token.n_firing / max(token.n_token, 1))} of the {count(token.n_token)} positions with it\n"
        f"mean activation {significant(token.mean_activation)} · lift {significant(token.lift)}\n"
        "click: all features that fire on it"
    )
    numbers = (short_count(token.n_firing), significant(token.mean_activation), short_lift(token.lift))
    return TokenRow(token.token, numbers, share, tip, f"token:{quoted(token.token)}")


def short_lift(lift: float) -> str:
    """12, 1.4, 3.1 k."""
    return significant(lift, 2) if lift < 1000 else short_count(lift)


def _logit_row(logit: TopLogit, field: str, largest: float) -> TokenRow:
    tip = (
        f"“{visible(logit.token)}” (token {logit.token_id})\nlogit {signed(logit.logit)} per unit of the atom\n"
        f"click: all features that {field.removesuffix('s')} it"
    )
    return TokenRow(
        logit.token, (signed(logit.logit),), abs(logit.logit) / largest, tip, f"{field}:{quoted(logit.token)}"
    )
