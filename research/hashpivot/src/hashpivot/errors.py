"""What can go wrong, by name."""

from __future__ import annotations


class HashpivotError(Exception):
    """Base of all errors of this package."""


class Unreachable(HashpivotError):
    """Nothing answers at the url, or not as ClickHouse does."""


class DatabaseMissing(HashpivotError):
    """The server has no such database."""


class ViewMissing(HashpivotError):
    """The database has no such table or view: its schema is older than this package."""


class QueryFailed(HashpivotError):
    """ClickHouse refused a query."""


class MarkUnclear(HashpivotError):
    """The database holds data of several marks, and none was chosen."""
