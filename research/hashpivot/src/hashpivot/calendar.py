"""Trade dates of US equities, as pkg/session has them: without them a holiday looks like a gap."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

#: Years whose holidays are known; outside of them nothing is said to be missing.
YEARS = range(2022, 2028)

HOLIDAYS = frozenset(
    date.fromisoformat(d)
    for d in [
        "2022-01-17",
        "2022-02-21",
        "2022-04-15",
        "2022-05-30",
        "2022-06-20",
        "2022-07-04",
        "2022-09-05",
        "2022-11-24",
        "2022-12-26",
        "2023-01-02",
        "2023-01-16",
        "2023-02-20",
        "2023-04-07",
        "2023-05-29",
        "2023-06-19",
        "2023-07-04",
        "2023-09-04",
        "2023-11-23",
        "2023-12-25",
        "2024-01-01",
        "2024-01-15",
        "2024-02-19",
        "2024-03-29",
        "2024-05-27",
        "2024-06-19",
        "2024-07-04",
        "2024-09-02",
        "2024-11-28",
        "2024-12-25",
        "2025-01-01",
        "2025-01-09",
        "2025-01-20",
        "2025-02-17",
        "2025-04-18",
        "2025-05-26",
        "2025-06-19",
        "2025-07-04",
        "2025-09-01",
        "2025-11-27",
        "2025-12-25",
        "2026-01-01",
        "2026-01-19",
        "2026-02-16",
        "2026-04-03",
        "2026-05-25",
        "2026-06-19",
        "2026-07-03",
        "2026-09-07",
        "2026-11-26",
        "2026-12-25",
        "2027-01-01",
        "2027-01-18",
        "2027-02-15",
        "2027-03-26",
        "2027-05-31",
        "2027-06-18",
        "2027-07-05",
        "2027-09-06",
        "2027-11-25",
        "2027-12-24",
    ]
)


def is_trade_date(day: date) -> bool | None:
    """Whether US equities trade on the day; None where the calendar does not reach."""
    if day.year not in YEARS:
        return None
    return day.weekday() < 5 and day not in HOLIDAYS


def days(first: date, last: date) -> list[date]:
    """All days from first to last, both included."""
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def trade_dates(first: date, last: date) -> list[date]:
    """Trade dates from first to last, both included."""
    return [d for d in days(first, last) if is_trade_date(d)]


def expected(calendar: str, first: date, last: date) -> list[date]:
    """The days that a series of a calendar ('utc', 'trade') has from first to last; none of one without a calendar."""
    if calendar == "utc":
        return days(first, last)
    return trade_dates(first, last) if calendar == "trade" else []


def runs(missing: Iterable[date], expected: Iterable[date]) -> list[tuple[date, date, int]]:
    """Missing days as runs (first, last, how many): days that follow each other among the expected ones are one run."""
    at = {d: i for i, d in enumerate(sorted(set(expected)))}
    out: list[tuple[date, date, int]] = []
    for d in sorted(set(missing)):
        if out and at[d] == at[out[-1][1]] + 1:
            out[-1] = (out[-1][0], d, out[-1][2] + 1)
        else:
            out.append((d, d, 1))
    return out
