"""Real texts, a tokenizer and an SAE of them without torch: words, fixed random vectors, k-means, a ridge regression.

A position's input is the vector of its token plus half the vector of the token before it, so that features tell tokens
and what stands before them; the vectors are the unembedding too, so that atoms raise and lower real tokens.
"""

from __future__ import annotations

import inspect
import json.decoder
import pathlib
import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from pydoc_data import topics

import numpy as np
import numpy.typing as npt

from tests.store.digits_sae import Floats

ARTICLE = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience "
    "and should act towards one another in a spirit of brotherhood.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt "
    "und sollen einander im Geist der Brüderlichkeit begegnen.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и "
    "должны поступать в отношении друг друга в духе братства.",
    "ar": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق، وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح "
    "الإخاء.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון, לפיכך חובה עליהם לנהוג איש "
    "ברעהו ברוח של אחוה.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "ja": "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
}
"""Article 1 of the Universal Declaration of Human Rights."""

MARKUP = (
    "<!DOCTYPE html>\n<html><head><script>document.title='owned'</script></head>\n<body onload=\"alert(1)\">"
    "<img src=x onerror=\"document.title='owned'\"><b>bold</b> &amp; <a href='javascript:alert(1)'>link</a> "
    "**not bold** :red[x] $x^2$ `code`</body></html>\n"
)
SIGNS = (
    "tab\there, bell\x07 and escape\x1b[31m, a\u00a0wide space, zero\u200bwidth, \u202ereversed\u202c back, "
    "soft\u00adhyphen.\r\nAn owl 🦉, a family 👩‍👩‍👧, a flag 🇫🇷, a rare sign 𒀀 and a combined é.\n\n\n    indented\n"
)
SPECIAL = {"markup": MARKUP * 3, "signs": SIGNS * 3}


@dataclass(frozen=True)
class Document:
    text: str
    kind: str
    name: str
    language: str


def documents() -> list[Document]:
    """Help texts and sources of Python's library, an article in ten languages, markup and odd characters."""
    found = [Document((text + "\n") * 4, "article", "article 1", code) for code, text in ARTICLE.items()]
    found += [Document(text, "odd", name, "en") for name, text in SPECIAL.items()]
    for name in ("assert", "break", "class", "exceptions", "if", "import", "lambda", "while", "with", "yield"):
        found.append(Document(topics.topics[name][:2500], "help", name, "en"))
    for module in (json.decoder, textwrap, pathlib):
        found.append(Document(inspect.getsource(module)[:4000], "code", module.__name__, "python"))
    return found


_IDEOGRAPH = r"[\u3040-\u9fff\uac00-\ud7af]"
_PIECES = re.compile(rf"{_IDEOGRAPH}| ?(?:(?!{_IDEOGRAPH})[^\W\d_])+| ?\d| ?[^\w\s]+|_+|\n+| +(?= )|\s", re.UNICODE)


END = 0
"""The token between documents: each begins with it."""


class Tokenizer:
    """The words of the documents (rare ones in parts), common characters, and all bytes: `<0xE4>` for what is left."""

    def __init__(self, texts: list[str]) -> None:
        found = Counter(piece for text in texts for piece in _PIECES.findall(text))
        common = {piece for piece, n in found.items() if n > (4 if re.fullmatch(_IDEOGRAPH, piece) else 1)}
        parts = {part for piece in found.keys() - common for part in _parts(piece)}
        known = sorted(common | {part for part in parts if part.isascii() or len(part) > 1})
        self.vocabulary = ["<|end|>", *(f"<0x{byte:02X}>" for byte in range(256)), *known]
        self._ids = {text: i for i, text in enumerate(self.vocabulary)}

    def ids(self, text: str) -> list[int]:
        found: list[int] = []
        for piece in _PIECES.findall(text):
            for part in [piece] if piece in self._ids else _parts(piece):
                known = self._ids.get(part)
                found += [known] if known is not None else [1 + byte for byte in part.encode()]
        return found


def _parts(piece: str) -> list[str]:
    return [piece[i : i + 4] for i in range(0, len(piece), 4)]


@dataclass(frozen=True)
class Texts:
    """Contexts of the documents. `row_*` and `x` [row, d_in] are by item, then position; every position counts."""

    vocabulary: list[str]
    items: list[list[int]]
    starts: list[int]
    document: list[int]
    documents: list[Document]
    x: Floats
    vectors: Floats
    row_item: npt.NDArray[np.int64]
    row_position: npt.NDArray[np.int64]
    row_token: npt.NDArray[np.int64]


def texts(context: int = 64, d_in: int = 48) -> Texts:
    found = documents()
    tokenizer = Tokenizer([document.text for document in found])
    items, starts, owners = [], [], []
    for number, document in enumerate(found):
        ids = [END, *tokenizer.ids(document.text)]
        for start in range(0, len(ids), context):
            items.append(ids[start : start + context])
            starts.append(start)
            owners.append(number)
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(len(tokenizer.vocabulary), d_in)) / np.sqrt(d_in)).astype(np.float32)
    token = np.array([i for ids in items for i in ids])
    position = np.concatenate([np.arange(len(ids)) for ids in items])
    before = np.where(position > 0, np.roll(token, 1), 0)
    x = vectors[token] + np.float32(0.5) * vectors[before]
    item = np.repeat(np.arange(len(items)), [len(ids) for ids in items])
    return Texts(
        tokenizer.vocabulary, items, starts, owners, found, np.ascontiguousarray(x), vectors, item, position, token
    )
