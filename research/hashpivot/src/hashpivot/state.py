"""What data there is: what every notebook says before its first figure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from . import calendar
from .connection import Database
from .errors import ViewMissing
from .views import MARK


@dataclass(frozen=True)
class Need:
    """A series that a notebook is made from. Rows that stand for days that trade have the calendar 'trade', for UTC days 'utc', for neither ''."""

    name: str
    table: str
    where: str = "1"
    calendar: str = "utc"
    day: str = "toDate(event_time)"

    @classmethod
    def closes(cls, symbol: str) -> Need:
        """Daily bars of a symbol."""
        cal = "utc" if "-" in symbol else "trade"
        return cls(
            f"daily closes {symbol}",
            "bars",
            f"interval = '1d' AND symbol = '{symbol}'",
            cal,
            "toDate(event_time, 'America/New_York')" if cal == "trade" else "toDate(event_time)",
        )

    @classmethod
    def rates(cls, gpu: str, where: str = "1") -> Need:
        """On-demand indices of a GPU model."""
        return cls(f"GPU rate {gpu}", "gpu_rates", f"class = 'on-demand' AND gpu = '{gpu}' AND {where}")


HASHPRICE = Need("hashprice (daily)", "hashprice", "method = 'daily' AND NOT published")


@dataclass
class Series:
    """What was found of a Need up to the trade date and as of the moment."""

    name: str
    rows: int = 0
    first_day: date | None = None
    last_day: date | None = None
    on_trade_date: bool = False
    expected_days: int = 0
    missing: list[tuple[date, date, int]] = field(default_factory=list)
    note: str = ""
    begins: str = ""

    @property
    def empty(self) -> bool:
        return self.rows == 0

    @property
    def missing_days(self) -> int:
        return sum(n for _, _, n in self.missing)

    def gaps_text(self, most: int = 4) -> str:
        """The runs of missing days, the longest first."""
        worst = sorted(self.missing, key=lambda r: (-r[2], r[0]))
        told = [f"{a}" if n == 1 else f"{a} to {b} ({n})" for a, b, n in worst[:most]]
        return ", ".join(told) + (f" and {len(worst) - most} more" if len(worst) > most else "")


@dataclass
class State:
    """The data state of a notebook's run."""

    trade_date: date
    since: date
    as_of: datetime
    mark: str
    series: list[Series]
    gaps: pd.DataFrame

    def of(self, name: str) -> Series:
        return next(s for s in self.series if s.name == name)

    @property
    def problems(self) -> list[str]:
        return [f"{s.name}: {s.note}" for s in self.series if s.note]

    def to_json(self) -> dict[str, Any]:
        out = [{**asdict(s), "missing_days": s.missing_days, "missing": [list(r) for r in s.missing[:20]]} for s in self.series]
        unfilled = self.gaps[self.gaps["state"] != "filled"] if len(self.gaps) else self.gaps
        return {
            "trade_date": self.trade_date,
            "since": self.since,
            "as_of": self.as_of,
            "mark": self.mark,
            "series": out,
            "gaps_in_window": len(self.gaps),
            "gaps_not_filled": len(unfilled),
        }

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr class={'bad' if s.note else 'ok'}><td>{html.escape(s.name)}</td><td class=n>{s.rows:,}</td><td class=d>{s.first_day or '–'}</td><td class=d>{s.last_day or '–'}</td>"
            f"<td>{'yes' if s.on_trade_date else 'no'}</td><td class=n>{_missing(s)}</td><td>{html.escape(s.note or '; '.join(filter(None, [s.begins, s.gaps_text()])))}</td></tr>"
            for s in self.series
        )
        return (
            f"<div class=state><table><caption>Data state: trade date {self.trade_date}, window from {self.since}, as of {as_of_text(self.as_of)}, {kind(self.mark)} data</caption>"
            "<tr><th>series</th><th>rows</th><th>first day</th><th>last day</th><th>on the trade date</th><th>days missing in the window</th><th>gaps, notes</th></tr>"
            f"{rows}</table><p>{html.escape(self._ledger())}</p></div>"
        )

    def _ledger(self) -> str:
        if self.gaps.empty:
            return "Gap ledger: no line touches the window."
        counts = self.gaps.groupby("state").size()
        told = ", ".join(f"{n} {str(s).replace('_', ' ')}" for s, n in sorted(counts.items()))
        bad = self.gaps[self.gaps["state"] != "filled"]
        rows: Any = bad.head(3).itertuples()
        which = "; ".join(f"{r.source} {r.symbol} {_at(r.from_time)} to {_at(r.to_time)}: {r.state}" for r in rows)
        return f"Gap ledger: {len(self.gaps)} lines touch the window ({told})." + (f" Not filled: {which}{' …' if len(bad) > 3 else ''}" if which else "")

    def __str__(self) -> str:
        head = f"trade date {self.trade_date}, window from {self.since}, as of {as_of_text(self.as_of)}, {kind(self.mark)} data"
        lines = [f"  {s.name}: {s.rows} rows, {s.first_day or '-'} to {s.last_day or '-'}; {s.note or s.gaps_text() or 'complete'}" for s in self.series]
        return "\n".join([head, *lines, "  " + self._ledger()])


def _missing(s: Series) -> str:
    return f"{s.missing_days} of {s.expected_days}" if s.expected_days else "not known"


def _at(t: Any) -> str:
    return "unknown" if pd.isna(t) else f"{t:%Y-%m-%d %H:%M}"


def kind(mark: str) -> str:
    """What people call a mark."""
    return {"sim-": "SIMULATED", "rec-": "RECORDED", "": "live"}[mark]


def as_of_text(as_of: datetime) -> str:
    return "any time (all that is stored)" if as_of.year >= 2200 else f"{as_of:%Y-%m-%d %H:%M:%S} UTC"


def look(db: Database, needs: Sequence[Need], *, trade_date: date, window_days: int, as_of: datetime, mark: str, gaps: pd.DataFrame) -> State:
    """Count what there is of each need. A table that does not exist is an error; one that is empty is said."""
    since = trade_date - timedelta(days=window_days - 1)
    return State(trade_date, since, as_of, mark, [_series(db, n, trade_date, since, as_of, mark) for n in needs], gaps)


def _series(db: Database, need: Need, trade_date: date, since: date, as_of: datetime, mark: str) -> Series:
    stored = "stream_time <= {as_of:DateTime64(9, 'UTC')}"
    parameters = {"as_of": as_of, "mark": mark, "until": trade_date}
    try:
        found = db.frame(
            f"SELECT {need.day} AS day, count() AS n FROM {need.table} WHERE {stored} AND {MARK} = {{mark:String}} AND day <= {{until:Date}} AND {need.where} GROUP BY day ORDER BY day",
            parameters,
        )
        ever = db.frame(
            f"SELECT count() AS n, min({need.day}) AS first_day, max({need.day}) AS last_day, min(stream_time) AS stored, countIf({stored}) AS known "
            f"FROM {need.table} WHERE {MARK} = {{mark:String}} AND {need.where}",
            parameters,
        ).iloc[0]
    except ViewMissing as err:
        return Series(need.name, note=str(err))
    have = {d.date() for d in found["day"]}
    s = Series(need.name, rows=int(found["n"].sum()), on_trade_date=trade_date in have)
    if have:
        s.first_day, s.last_day = min(have), max(have)
        begin = max(since, s.first_day)
        s.begins = f"begins on {s.first_day}" if s.first_day > since and need.calendar else ""
        want = calendar.expected(need.calendar, begin, trade_date)
        s.expected_days = len(want)
        s.missing = calendar.runs([d for d in want if d not in have], want)
    if ever["n"] == 0:
        s.note = "no row is stored at all"
    elif ever["known"] == 0:
        s.note = f"nothing was stored by {as_of_text(as_of)}; the first row was stored at {ever['stored']:%Y-%m-%d %H:%M:%S} UTC"
    elif not have:
        s.note = f"no row up to {trade_date}; the first is of {ever['first_day'].date()}"
    elif s.last_day is not None and s.last_day < since:
        s.note = f"nothing in the window; the last row is of {s.last_day}"
    elif trade_date not in have and need.calendar:
        closed = need.calendar == "trade" and calendar.is_trade_date(trade_date) is False
        s.note = f"none on {trade_date} ({'no trade date' if closed else 'missing'}); the last is of {s.last_day}" + (
            f"; gaps: {s.gaps_text()}" if s.missing_days > 1 else ""
        )
    return s
