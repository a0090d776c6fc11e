"""A notebook's run: its parameters, its data state, its key figures."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypedDict

import pandas as pd
from IPython.display import HTML, display

from . import views
from .connection import Database, connect
from .errors import MarkUnclear
from .plots import Chart
from .state import Need, State, kind, look

#: MIME type under which a notebook hands its key figures to the runner.
RESULTS = "application/vnd.hashpivot.results+json"
STATE = "application/vnd.hashpivot.state+json"


class At(TypedDict):
    """What every view takes: `views.pivot(study.db, **study.at)`."""

    as_of: datetime
    mark: str


class Study:
    """Everything a notebook shares among its cells. It keeps no state but key figures by name, so that a cell may run again."""

    def __init__(
        self,
        notebook: str,
        trade_date: str | date,
        as_of: str | datetime = views.EVER,
        database: str = "hashpivot",
        url: str = "http://127.0.0.1:8123",
        mark: str = "auto",
    ) -> None:
        self.notebook = notebook
        self.trade_date = date.fromisoformat(trade_date) if isinstance(trade_date, str) else trade_date
        self.as_of = moment(as_of)
        self.db: Database = connect(url, database)
        self.mark = choose_mark(self.db, mark)
        self._results: dict[str, dict[str, Any]] = {}

    @property
    def at(self) -> At:
        return {"as_of": self.as_of, "mark": self.mark}

    @property
    def kind(self) -> str:
        return kind(self.mark)

    def since(self, days: int) -> date:
        """First day of a window of so many days that ends with the trade date."""
        return self.trade_date - timedelta(days=days - 1)

    def state(self, needs: Sequence[Need], window_days: int) -> State:
        """The data state, shown as the box that a notebook begins with."""
        gaps = views.gaps(self.db, **self.at, since=self.since(window_days), until=self.trade_date)
        out = look(self.db, needs, trade_date=self.trade_date, window_days=window_days, gaps=gaps, **self.at)
        told = json.loads(json.dumps(out.to_json(), default=str))
        display({STATE: told, "text/html": out._repr_html_(), "text/plain": str(out)}, raw=True)
        return out

    def chart(self, title: str, *, unit: str, source: str, n: int, height: float = 4.2, rows: int = 1) -> Chart:
        """An empty chart whose title and foot say what it shows."""
        return Chart(title, unit=unit, source=source, n=n, as_of=self.as_of, trade_date=self.trade_date, mark=self.mark, height=height, rows=rows)

    def record(self, name: str, value: Any, unit: str, note: str = "") -> None:
        """Keep a key figure. None needs a note that says why there is none; what is not finite is an error, never a figure."""
        if value is not None and not isinstance(value, str):
            if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
                value = None
            elif hasattr(value, "item"):
                value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"record {name}: {value} is no figure; record None with the reason")
        if value is None and not note:
            raise ValueError(f"record {name}: no value and no reason; give the reason as the note")
        self._results[name] = {"notebook": self.notebook, "name": name, "value": value, "unit": unit, "note": note}

    def close(self) -> None:
        """Show the key figures, hand them to the runner, and end. The last cell of a notebook calls it."""
        rows = "".join(
            f"<tr><td>{html.escape(r['name'])}</td><td class=n>{shown(r['value'])}</td><td>{html.escape(r['unit'])}</td><td>{html.escape(r['note'])}</td></tr>"
            for r in self._results.values()
        )
        table = f"<table class=figures><tr><th>key figure</th><th>value</th><th>unit</th><th>note</th></tr>{rows}</table>"
        text = "\n".join(f"{r['name']}: {shown(r['value'])} {r['unit']} {r['note']}" for r in self._results.values())
        display({RESULTS: list(self._results.values()), "text/html": table, "text/plain": text}, raw=True)
        self.db.close()


def shown(value: Any) -> str:
    """A figure for people: at most six significant digits. The exact one is in the results."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else html.escape(str(value))


def table(frame: pd.DataFrame, caption: str, digits: int = 4) -> None:
    """Show a frame as a plain table: floats by significant digits, what is missing as a dash."""

    def cell(v: Any) -> str:
        if v is None or v is pd.NA or v is pd.NaT or (isinstance(v, float) and math.isnan(v)):
            return "<td class=n>–</td>"
        if isinstance(v, pd.Timestamp):
            return f"<td class=d>{v:%Y-%m-%d}</td>" if v == v.normalize() else f"<td>{v:%Y-%m-%d %H:%M:%S}</td>"
        if isinstance(v, float):
            return f"<td class=n>{v:,.{digits}g}</td>" if abs(v) < 10**digits else f"<td class=n>{v:,.0f}</td>"
        if isinstance(v, (bool,)):
            return f"<td>{'yes' if v else 'no'}</td>"
        if isinstance(v, int) or hasattr(v, "__index__"):
            return f"<td class=n>{int(v):,}</td>"
        return f"<td>{html.escape(str(v))}</td>"

    head = "".join(f"<th>{html.escape(str(c)).replace('_', ' ')}</th>" for c in frame.columns)
    body = "".join("<tr>" + "".join(cell(v) for v in row) + "</tr>" for row in frame.astype(object).itertuples(index=False, name=None))
    empty = "" if len(frame) else f"<tr><td colspan={max(1, len(frame.columns))}>no rows</td></tr>"
    display(HTML(f"<table class=rows><caption>{html.escape(caption)}</caption><tr>{head}</tr>{body}{empty}</table>"))


def moment(at: str | datetime) -> datetime:
    """A moment in UTC; a text without a zone is UTC."""
    t = datetime.fromisoformat(at.strip().replace(" UTC", "+00:00")) if isinstance(at, str) else at
    return t.replace(tzinfo=UTC) if t.tzinfo is None else t.astimezone(UTC)


def choose_mark(db: Database, mark: str) -> str:
    """The mark to read: the one that was asked for, or the only one in the database. Generated, recorded and live data never meet in a figure."""
    if mark in ("", "sim-", "rec-"):
        return mark
    if mark == "live":
        return ""
    if mark != "auto":
        raise MarkUnclear(f"mark {mark!r}: want sim-, rec-, live or auto")
    there = views.marks(db)
    if len(there) > 1:
        raise MarkUnclear(f"database {db.name} holds {' and '.join(kind(m) for m in there)} data: choose one by the parameter mark (sim-, rec- or live)")
    return there[0] if there else ""


def on_day(frame: pd.DataFrame, day: date, column: str, otherwise: str = "") -> tuple[float | None, str]:
    """The value of a column on a day, or None and why there is none: the frame's own reason, or that there is no row."""
    of = frame[frame["day"] == pd.Timestamp(day)]
    if of.empty:
        last = frame.loc[frame[column].notna(), "day"].max() if len(frame) else pd.NaT
        return None, otherwise or f"no row on {day}" + ("" if pd.isna(last) else f"; the last is of {last:%Y-%m-%d}")
    row = of.iloc[-1]
    if pd.isna(row[column]):
        return None, str(row.get("reason") or "") or f"no value on {day}"
    return float(row[column]), "" if bool(row.get("confirmed", True)) else "made with an assumption that is not confirmed"


def slug(column: str) -> str:
    """A column's name without its unit, which a key figure has apart."""
    return re.sub(r"_usd(_per_\w+)?$", "", column)
