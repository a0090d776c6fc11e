"""hashpivot's tables and views as functions that return frames.

Every function takes `as_of` (what was stored by that moment; `EVER` for all) and, where rows carry one, `mark` ('' live, 'sim-' simulated, 'rec-'
recorded: one at a time, never mixed). `since` and `until` are days, both included. Units stand in the column names; rows come in a fixed order, so that
the same question has the same answer to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd

from .connection import Database, text
from .errors import QueryFailed

#: Later than anything is stored.
EVER = datetime(2200, 1, 1, tzinfo=UTC)
#: Earlier than any row, later than the first Date that every codec holds.
FIRST_DAY, LAST_DAY = date(1990, 1, 1), date(2100, 1, 1)

#: The mark of a source, as the views compute it.
MARK = "multiIf(startsWith(source, 'sim-'), 'sim-', startsWith(source, 'rec-'), 'rec-', '')"
_STORED = "stream_time <= {as_of:DateTime64(9, 'UTC')}"


def _rows(db: Database, relation: str, keep: Sequence[str], order: str, parameters: Mapping[str, Any], exact: bool = False) -> pd.DataFrame:
    where = " AND ".join(keep) or "1"
    return db.frame(f"SELECT * FROM {relation} WHERE {where} ORDER BY {order}", parameters, exact=exact)


def _log(db: Database, table: str, keys: str, day: str, keep: Sequence[str], parameters: Mapping[str, Any], exact: bool = False) -> pd.DataFrame:
    """The last revision of each fact of an append-only table that was stored by as_of, with its mark and day."""
    where = " AND ".join([_STORED, f"{MARK} = {{mark:String}}", f"{day} >= {{since:Date}}", f"{day} <= {{until:Date}}", *keep])
    sql = f"SELECT *, {MARK} AS mark, {day} AS day FROM {table} WHERE {where} ORDER BY {keys}, rev DESC, stream_time DESC, stream_seq DESC, idx DESC LIMIT 1 BY {keys}"
    return db.frame(sql, parameters, exact=exact)


def pivot(
    db: Database, *, as_of: datetime = EVER, mark: str = "", since: date = FIRST_DAY, until: date = LAST_DAY, fleet: str = "fleet",
    gpus: Sequence[str] = (), preferred: bool = True, exact: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Premium (ratio), spread (USD/MWh) and break-even hashprice (USD/PH/s/day) by UTC day and GPU model; NaN with a reason."""
    keep = ["mark = {mark:String}", "day >= {since:Date}", "day <= {until:Date}", "fleet = {fleet:String}"]
    keep += ["preferred"] if preferred else []
    keep += ["has({gpus:Array(String)}, gpu)"] if gpus else []
    p = {"as_of": as_of, "mark": mark, "since": since, "until": until, "fleet": fleet, "gpus": list(gpus)}
    return _rows(db, "pivot_as_of(as_of = {as_of:DateTime64(9, 'UTC')})", keep, "gpu, day, rate_method", p, exact)


def revenue_per_mwh(
    db: Database, *, as_of: datetime = EVER, mark: str = "", kind: str, since: date = FIRST_DAY, until: date = LAST_DAY, symbol: str = "", exact: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """USD/MWh by day: kind 'mining' (symbol: the fleet), 'gpu' (the model) or 'contract' (the company; reference, without a mark)."""
    keep = ["kind = {kind:String}", "mark = {mark:String}", "day >= {since:Date}", "day <= {until:Date}"]
    keep += ["symbol = {symbol:String}"] if symbol else []
    p = {"as_of": as_of, "mark": "" if kind == "contract" else mark, "kind": kind, "since": since, "until": until, "symbol": symbol}
    return _rows(db, "revenue_per_mwh_as_of(as_of = {as_of:DateTime64(9, 'UTC')})", keep, "symbol, day, method", p, exact)


def hashprice(
    db: Database, *, as_of: datetime = EVER, mark: str = "", method: str = "daily", since: date = FIRST_DAY, until: date = LAST_DAY, exact: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Hashprice (USD, BTC and satoshi per PH/s per day) with its components, one row a source and event time; `published` is what others publish."""
    p = {"as_of": as_of, "mark": mark, "since": since, "until": until, "method": method}
    return _log(db, "hashprice", "event_time, source, height", "toDate(event_time)", ["method = {method:String}"], p, exact)


def hashprice_methods(db: Database, *, as_of: datetime = EVER, mark: str = "", until: date = LAST_DAY) -> pd.DataFrame:
    """Which hashprices there are: method, published, rows, first and last day."""
    return db.frame(
        f"""SELECT method, published, count() AS rows, min(toDate(event_time)) AS first_day, max(toDate(event_time)) AS last_day FROM hashprice
        WHERE {_STORED} AND {MARK} = {{mark:String}} AND toDate(event_time) <= {{until:Date}} GROUP BY method, published ORDER BY published, method""",
        {"as_of": as_of, "mark": mark, "until": until},
    )


def difficulty(db: Database, *, as_of: datetime = EVER, mark: str = "", since: date = FIRST_DAY, until: date = LAST_DAY) -> pd.DataFrame:
    """Difficulty by retarget as the network feeds told it."""
    p = {"as_of": as_of, "mark": mark, "since": since, "until": until}
    return _log(db, "btc_difficulty", "event_time, source", "toDate(event_time)", [], p)


def gpu_rates(
    db: Database, *, as_of: datetime = EVER, mark: str = "", since: date = FIRST_DAY, until: date = LAST_DAY, gpus: Sequence[str] = (), exact: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """GPU rental indices, USD per GPU-hour, each event time of each model, class and method, with sample size and dispersion."""
    keep = ["has({gpus:Array(String)}, gpu)"] if gpus else []
    p = {"as_of": as_of, "mark": mark, "since": since, "until": until, "gpus": list(gpus)}
    return _log(db, "gpu_rates", "gpu, class, method, version, event_time, source", "toDate(event_time)", keep, p, exact)


def offers(db: Database, *, as_of: datetime = EVER, mark: str = "", day: date) -> pd.DataFrame:
    """GPU offers that stood open at the end of a UTC day, of providers that were heard on that day: what was not looked at is not open."""
    return db.frame(
        f"""SELECT *, {MARK} AS mark FROM gpu_offers
        WHERE {_STORED} AND mark = {{mark:String}} AND toDate(event_time) <= {{day:Date}}
            AND provider IN (SELECT provider FROM gpu_offers WHERE {_STORED} AND {MARK} = {{mark:String}} AND toDate(event_time) = {{day:Date}})
        ORDER BY provider, gpu, class, offer_id, event_time DESC, rev DESC, stream_time DESC, stream_seq DESC, idx DESC LIMIT 1 BY provider, gpu, class, offer_id""",
        {"as_of": as_of, "mark": mark, "day": day},
    ).query("action != 'closed'")


def gaps(db: Database, *, as_of: datetime = EVER, mark: str = "", since: date = FIRST_DAY, until: date = LAST_DAY) -> pd.DataFrame:
    """Lines of the gap ledger that touch the days, in the state that they had at as_of."""
    return db.frame(
        f"""SELECT source, symbol, from_time, to_time, state, reason, recovered FROM
        (SELECT * FROM feed_gaps WHERE {_STORED} AND {MARK} = {{mark:String}}
            ORDER BY source, gap_id, rev DESC, stream_time DESC, stream_seq DESC, idx DESC LIMIT 1 BY source, gap_id)
        WHERE ifNull(toDate(from_time), toDate('1990-01-01')) <= {{until:Date}} AND ifNull(toDate(to_time), toDate('2100-01-01')) >= {{since:Date}}
        ORDER BY source, symbol, from_time, to_time, state""",
        {"as_of": as_of, "mark": mark, "since": since, "until": until},
    )


def reference(db: Database, table: str, *, as_of: datetime = EVER, exact: bool = False) -> pd.DataFrame:
    """The list of a reference table that was loaded last by as_of: ai_contracts, market_events, reference_levels, gpu_systems, asic_machines …"""
    if not table.isidentifier():
        raise ValueError(f"reference {table!r}: want the name of a table")
    out = db.frame(
        f"""SELECT DISTINCT * EXCEPT (version, loaded_at) FROM {table}
        WHERE version = (SELECT argMax(version, loaded_at) FROM {table} WHERE loaded_at <= {{as_of:DateTime64(9, 'UTC')}}) ORDER BY ALL""",
        {"as_of": as_of},
        exact=exact,
    )
    return out


def market_events(db: Database, *, as_of: datetime = EVER, since: date = FIRST_DAY, until: date = LAST_DAY) -> pd.DataFrame:
    """Days that a chart should mark: contracts, the halving, mergers."""
    out = reference(db, "market_events", as_of=as_of)
    return out[(out["date"] >= pd.Timestamp(since)) & (out["date"] <= pd.Timestamp(until))].sort_values(["date", "symbol", "title"], ignore_index=True)


def marks(db: Database) -> list[str]:
    """The marks of the data in the database."""
    tables = ("bars", "trades", "hashprice", "gpu_rates", "gpu_offers", "btc_prices")
    union = " UNION DISTINCT ".join(f"SELECT DISTINCT {MARK} AS mark FROM {t}" for t in tables)
    return list(db.frame(f"SELECT mark FROM ({union}) ORDER BY mark")["mark"])


def daily_closes(
    db: Database,
    *,
    as_of: datetime = EVER,
    mark: str = "",
    since: date = FIRST_DAY,
    until: date = LAST_DAY,
    symbols: Sequence[str] = (),
    exact: bool = False,
) -> pd.DataFrame:
    """One close a symbol and trade date (USD; as traded, adjusted for splits, adjusted for all distributions) with its simple daily return."""
    keep = ["mark = {mark:String}", "day >= {since:Date}", "day <= {until:Date}"]
    keep += ["has({symbols:Array(String)}, symbol)"] if symbols else []
    p = {"as_of": as_of, "mark": mark, "since": since, "until": until, "symbols": list(symbols)}
    return _rows(db, "daily_closes_as_of(as_of = {as_of:DateTime64(9, 'UTC')})", keep, "symbol, day", p, exact)


def exposure(
    db: Database,
    *,
    as_of: datetime = EVER,
    mark: str = "",
    window: int = 60,
    since: date = FIRST_DAY,
    until: date = LAST_DAY,
    symbols: Sequence[str] = (),
    exact: bool = False,
) -> pd.DataFrame:
    """Rolling beta, correlation and explained share (r2, with 95 % bounds) of each symbol to hashprice, btc and gpu, over `window` trade days."""
    keep = ["mark = {mark:String}", "day >= {since:Date}", "day <= {until:Date}"]
    keep += ["has({symbols:Array(String)}, symbol)"] if symbols else []
    p = {"as_of": as_of, "mark": mark, "window": window, "since": since, "until": until, "symbols": list(symbols)}
    return _rows(db, "exposure_as_of(window = {window:UInt16}, as_of = {as_of:DateTime64(9, 'UTC')})", keep, "symbol, factor, day", p, exact)


def lead_lag(
    db: Database, *, as_of: datetime = EVER, mark: str = "", window: int = 60, day: date, symbols: Sequence[str] = (), exact: bool = False
) -> pd.DataFrame:
    """Correlation of each symbol's return with a factor's `lag` trade days before (above 0: the factor leads), with 95 % bounds."""
    keep = ["mark = {mark:String}"]
    keep += ["has({symbols:Array(String)}, symbol)"] if symbols else []
    p = {"as_of": as_of, "mark": mark, "window": window, "day": day, "symbols": list(symbols)}
    view = "lead_lag_as_of(window = {window:UInt16}, day = {day:Date}, as_of = {as_of:DateTime64(9, 'UTC')})"
    return _rows(db, view, keep, "symbol, factor, lag", p, exact)


def claims(db: Database, *, as_of: datetime = EVER) -> pd.DataFrame:
    """The story's claims, each with what its own query answers: computed (in computed_unit; NaN where it cannot be), verdict and note.

    The queries ask live rows and recordings, never generated ones, whatever the mark.
    """
    out = reference(db, "claims", as_of=as_of)
    told: list[tuple[float, str, str]] = []
    for query in out["query"]:
        answer = db.frame(str(query).replace("2200-01-01 00:00:00", text(as_of)))
        if len(answer) != 1:
            raise QueryFailed(f"test a claim: want one row, got {len(answer)}: {query}")
        row = answer.iloc[0]
        told.append((float("nan") if pd.isna(row["computed"]) else float(row["computed"]), str(row["verdict"]), str(row["note"])))
    return out.assign(computed=[t[0] for t in told], verdict=[t[1] for t in told], note=[t[2] for t in told])


def event_study(db: Database, *, as_of: datetime = EVER, mark: str = "", until: date = LAST_DAY, exact: bool = False) -> pd.DataFrame:
    """Abnormal returns (ratios) of each symbol from ten trade days before to twenty after each event, as far as they are over by `until`."""
    p = {"as_of": as_of, "mark": mark}
    out = db.frame("SELECT * FROM event_study_as_of(as_of = {as_of:DateTime64(9, 'UTC')}) WHERE mark = {mark:String}", p, exact=exact)
    over = (out["event_date"] <= pd.Timestamp(until)) & ~(out["day"] > pd.Timestamp(until))
    return out[over].sort_values(["event_date", "symbol", "kind", "title", "offset"], ignore_index=True)


def data_quality(db: Database, *, as_of: datetime = EVER, mark: str = "", since: date = FIRST_DAY, until: date = LAST_DAY) -> pd.DataFrame:
    """Rows, gaps by state, missed seconds, staleness, revisions and dead letters by day, table and source."""
    keep = ["mark = {mark:String}", "day >= {since:Date}", "day <= {until:Date}"]
    p = {"as_of": as_of, "mark": mark, "since": since, "until": until}
    return _rows(db, "data_quality_as_of(as_of = {as_of:DateTime64(9, 'UTC')})", keep, "ALL", p)


def pivot_capital(
    db: Database, *, as_of: datetime = EVER, mark: str = "", since: date = FIRST_DAY, until: date = LAST_DAY, fleet: str = "fleet", gpus: Sequence[str] = ()
) -> pd.DataFrame:
    """The pivot per dollar of capital: premium_per_capital (ratio), revenue a year and dollar of capital of both, and the capital (USD/MW) it was made with."""
    keep = ["mark = {mark:String}", "day >= {since:Date}", "day <= {until:Date}", "fleet = {fleet:String}", "preferred"]
    keep += ["has({gpus:Array(String)}, gpu)"] if gpus else []
    p = {"as_of": as_of, "mark": mark, "since": since, "until": until, "fleet": fleet, "gpus": list(gpus)}
    return _rows(db, "pivot_capital_as_of(as_of = {as_of:DateTime64(9, 'UTC')})", keep, "gpu, day, rate_method", p)
