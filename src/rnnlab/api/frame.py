"""pandas DataFrames, where pandas is installed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rnnlab.errors import UserError

if TYPE_CHECKING:
    import pandas


def frame(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], index: Any = None) -> "pandas.DataFrame":
    """A DataFrame from rows [{column: value}] or columns {column: values}. Raises UserError without pandas."""
    try:
        import pandas
    except ImportError:
        raise UserError("to_frame needs pandas: pip install pandas") from None
    return pandas.DataFrame(rows, index=index)
