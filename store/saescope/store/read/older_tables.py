"""Tables of older versions, read as they are written today. Files keep what they hold.

`tables_version` 1 (before saescope 0.2.0): an automatic label is a sentence, "digit 7: 93 % of firings, recall 81 %,
base rate 10 %". Its name is what stands before the numbers.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_PERCENT = r"(?:< 0\.1|> 99|[0-9]\.[1-9]|[0-9]{1,3}) %"
_NUMBERS = rf": {_PERCENT} of firings, recall {_PERCENT}, base rate {_PERCENT}$"
"""The end of a sentence, for RE2 (DuckDB and Arrow), where $ is the very end of a text. A name may hold the like."""


def selection(table: str, tables_version: int) -> str:
    """The SELECT list of SQL that reads table `table` of a version as it is written today."""
    if table == "features" and tables_version < 2:
        return f"* REPLACE (regexp_replace(auto_label, '{_NUMBERS}', '') AS auto_label)"
    return "*"


def modernised(table: str, rows: pa.Table, tables_version: int) -> pa.Table:
    """The same for `rows`, which may be some of its columns."""
    if table == "features" and tables_version < 2 and "auto_label" in rows.column_names:
        names = pc.replace_substring_regex(rows["auto_label"], _NUMBERS, "")
        at = rows.schema.get_field_index("auto_label")
        return rows.set_column(at, rows.schema.field(at), names)
    return rows
