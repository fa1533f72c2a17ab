"""Options from frozen dataclasses: a field and its docstring are all that an option is written down in.

    class Toy(Generic[Open]):                                    # with @dataclass(frozen=True)
        n_items: Annotated[int, Meta(ge=1)] = 1000               # Meta of msgspec: bounds of the value
        \"\"\"Items to draw.\"\"\"
        rate: Annotated[float, Meta(gt=0)] | Open = OPEN         # left open: chosen later, from the data
        \"\"\"Items per second.\"\"\"
        kind: Literal["a", "b"] = field(default="a", metadata=flag("--toy-kind", default="by the model"))
        \"\"\"Which kind.\"\"\"

        def __post_init__(self) -> None:
            check_fields(self)                                   # OptionError: value, expectation, flag

From it come the flags of a command (`flags.collected`, `flags.option_flags`: name, type, choices, help, default; the
command gets what was given as one dict) and the rows of the documentation (`documentation.rows`). Where several classes
have a field of one name, the flag is one, and its help says whose it is.

`Toy[None]` is what a user writes, with None for what is left open, and `Toy[Never]` the same with all of it filled in:
a type checker knows that no None is left, without a second list of fields.
"""

from saescope.options.fields import OPEN, Open, filled, flag, is_open, open_fields
from saescope.options.validation import check_fields

__all__ = ["OPEN", "Open", "check_fields", "filled", "flag", "is_open", "open_fields"]
