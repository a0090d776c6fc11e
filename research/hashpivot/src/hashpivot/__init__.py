"""hashpivot's data as frames: connect, ask a view, plot what it says, keep a key figure."""

from .connection import Database, connect
from .errors import DatabaseMissing, HashpivotError, MarkUnclear, QueryFailed, Unreachable, ViewMissing
from .plots import Chart
from .state import HASHPRICE, Need, Series, State
from .study import Study, table
from .views import EVER

__all__ = [
    "EVER", "HASHPRICE", "Chart", "Database", "DatabaseMissing", "HashpivotError", "MarkUnclear", "Need", "QueryFailed", "Series", "State", "Study", "Unreachable",
    "ViewMissing", "connect", "table",
]  # fmt: skip
