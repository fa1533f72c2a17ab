"""Real texts in many scripts, of several kinds, with what a page or a terminal may trip over."""

from __future__ import annotations

import inspect
import json.decoder
import pathlib
import textwrap
from dataclasses import dataclass
from pydoc_data import topics

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
    found = [Document((text + "\n") * 4, "article\nof rights", "article 1", code) for code, text in ARTICLE.items()]
    found += [Document(text, "odd", name, "en") for name, text in SPECIAL.items()]
    for name in ("assert", "break", "class", "exceptions", "if", "import", "lambda", "while", "with", "yield"):
        found.append(Document(topics.topics[name][:2500], "help", name, "en"))
    for module in (json.decoder, textwrap, pathlib):
        found.append(Document(inspect.getsource(module)[:4000], "code", module.__name__, "python"))
    return found
