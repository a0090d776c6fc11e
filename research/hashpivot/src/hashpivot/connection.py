"""Connection to ClickHouse over HTTP, for reading alone, and its answers as pandas frames.

pandas, because clickhouse-connect and matplotlib speak it, and because quants do. Types are set here, once, for every frame:

- Decimal becomes float64, rounded once and correctly (`float(Decimal)`), because a frame is for arithmetic and for charts. `exact=True` keeps
  `decimal.Decimal` objects, for comparisons to the last digit.
- DateTime64 becomes datetime64[ns, UTC] with all nine digits; Date becomes datetime64[s] without a zone.
- NULL becomes NaN, NaT or <NA>, never 0; Nullable(Bool) and Nullable integers become pandas' nullable types.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import clickhouse_connect
import pandas as pd
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from .errors import DatabaseMissing, QueryFailed, Unreachable, ViewMissing

_CODE = re.compile(r"Code: (\d+)\. DB::Exception: (.*?)(?: \(version .*)?$", re.S)
_UNKNOWN_TABLE, _UNKNOWN_DATABASE, _UNKNOWN_FUNCTION = 60, 81, 46
_INTEGERS = {f"{u}Int{n}": f"{u}Int{n}" for u in ("", "U") for n in (8, 16, 32, 64)}


class Database:
    """One database, for reading. `with connect(...) as db:` closes it."""

    def __init__(self, client: Client, url: str, name: str) -> None:
        self._client = client
        self.url = url
        self.name = name

    def frame(self, sql: str, parameters: Mapping[str, Any] | None = None, *, exact: bool = False) -> pd.DataFrame:
        """The answer of a query. Values go in as `{name:Type}` and parameters, never by pasting text."""
        values = _texts(parameters or {})
        try:
            res = self._client.query(sql, parameters=values, query_formats={"DateTime64": "int"})
            names, kinds = list(res.column_names), [t.name for t in res.column_types]
            columns = res.result_columns
            if not names:  # an answer without rows may come without its columns, too
                told = self._client.query(f"DESCRIBE TABLE ({sql})", parameters=values).result_rows
                names, kinds = [str(r[0]) for r in told], [str(r[1]) for r in told]
                columns = [[] for _ in names]
        except ClickHouseError as err:
            raise self._named(err) from err
        return pd.DataFrame({n: _series(v, k, exact) for n, k, v in zip(names, kinds, columns or [[] for _ in names], strict=True)}, columns=names)

    def columns(self, table: str) -> pd.DataFrame:
        """Names, types and comments (with units) of a table's or view's columns."""
        out = self.frame(
            "SELECT name, type, comment FROM system.columns WHERE database = {db:String} AND table = {t:String} ORDER BY position",
            {"db": self.name, "t": table},
        )
        if out.empty:
            raise ViewMissing(f"describe {table}: database {self.name} has none; bring its schema up with `hashpivot migrate`")
        return out

    def has(self, *tables: str) -> bool:
        """Whether all of these tables and views exist."""
        found = self.frame("SELECT name FROM system.tables WHERE database = {db:String} AND has({t:Array(String)}, name)", {"db": self.name, "t": list(tables)})
        return len(found) == len(set(tables))

    def _named(self, err: ClickHouseError) -> Exception:
        m = _CODE.search(str(err).split(" (for url")[0])
        if m is None:
            return Unreachable(f"query {self.name} at {self.url}: {err}; is hashpivot running there?")
        code, text = int(m[1]), m[2].strip()
        if code in (_UNKNOWN_TABLE, _UNKNOWN_FUNCTION):
            return ViewMissing(f"query {self.name}: {text}; an older schema is brought up by `hashpivot migrate`")
        if code == _UNKNOWN_DATABASE:
            return DatabaseMissing(f"query {self.name}: {text}")
        return QueryFailed(f"query {self.name}: code {code}: {text}")

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def connect(url: str = "http://127.0.0.1:8123", database: str = "hashpivot", user: str = "", password: str = "") -> Database:
    """Connect for reading. Every query runs with readonly = 2, so that the server refuses whatever would change something.

    Without user and password those of HASHPIVOT_CLICKHOUSE_USER and HASHPIVOT_CLICKHOUSE_PASSWORD are taken: they do not belong into a notebook.
    """
    u = urlsplit(url if "://" in url else "http://" + url)
    if u.scheme not in ("http", "https") or not u.hostname:
        raise Unreachable(f"connect to {url}: want http://host:port of ClickHouse's HTTP protocol")
    user = user or os.environ.get("HASHPIVOT_CLICKHOUSE_USER", "default")
    password = password or os.environ.get("HASHPIVOT_CLICKHOUSE_PASSWORD", "")
    port = u.port or (8443 if u.scheme == "https" else 8123)
    shown = f"{u.scheme}://{u.hostname}:{port}"
    try:
        client = clickhouse_connect.get_client(
            interface=u.scheme, host=u.hostname, port=port, username=user, password=password, connect_timeout=10, send_receive_timeout=300,
            autogenerate_session_id=False, settings={"readonly": 2},
        )  # fmt: skip
    except ClickHouseError as err:
        raise Unreachable(f"connect to {shown}: {err}; is hashpivot running there? `hashpivot status` shows its addresses") from err
    db = Database(client, shown, database)
    there: list[str] = list(db.frame("SELECT name FROM system.databases ORDER BY name")["name"])
    if database not in there:
        client.close()
        ours = [d for d in there if d.startswith("hashpivot")]
        raise DatabaseMissing(f"connect to {shown}: there is no database {database}; there is {', '.join(ours or there)}")
    client.database = database
    return db


def _texts(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {k: text(v) if isinstance(v, (date, datetime)) else v for k, v in parameters.items()}


def text(at: date | datetime) -> str:
    """A day or a moment as ClickHouse reads it; a moment without a zone is UTC."""
    if isinstance(at, pd.Timestamp):
        t = at.tz_convert("UTC") if at.tz is not None else at
        return t.strftime("%Y-%m-%d %H:%M:%S") + f".{t.microsecond:06d}{t.nanosecond:03d}"
    if isinstance(at, datetime):
        t2 = at.astimezone(UTC) if at.tzinfo is not None else at
        return t2.strftime("%Y-%m-%d %H:%M:%S.%f")
    return at.isoformat()


def _series(values: Sequence[Any], kind: str, exact: bool) -> pd.Series[Any]:
    while m := re.fullmatch(r"LowCardinality\((.*)\)", kind):
        kind = m[1]
    nullable = False
    if m := re.fullmatch(r"Nullable\((.*)\)", kind):
        kind, nullable = m[1], True
    if kind.startswith("Decimal"):
        if exact:
            return pd.Series(list(values), dtype=object)
        return pd.Series([float("nan") if v is None else float(v) for v in values], dtype="float64")
    if m := re.match(r"DateTime64\((\d)", kind):
        scale = 10 ** (9 - int(m[1]))
        ns = [None if v is None else int(v) * scale for v in values]
        return pd.Series(pd.to_datetime(pd.Series(ns, dtype="Int64"), unit="ns", utc=True)).astype("datetime64[ns, UTC]")
    if kind.startswith("DateTime"):
        return pd.Series(pd.to_datetime(pd.Series(list(values), dtype=object), utc=True)).astype("datetime64[s, UTC]")
    if kind.startswith("Date"):
        return pd.Series(pd.to_datetime(pd.Series([None if v is None else v.isoformat() for v in values], dtype=object))).astype("datetime64[s]")
    if kind in ("Float32", "Float64"):
        return pd.Series([float("nan") if v is None else float(v) for v in values], dtype="float64")
    if kind == "Bool":
        return pd.Series(list(values), dtype="boolean" if nullable else "bool")
    if kind in _INTEGERS:
        return pd.Series(list(values), dtype=kind if nullable else kind.lower())
    if kind.startswith(("String", "Enum", "FixedString")):
        return pd.Series(list(values), dtype="str")
    if not exact and kind.startswith("Array(Decimal"):
        return pd.Series([[float(x) for x in v] for v in values], dtype=object)
    return pd.Series([None if v is None else v for v in values], dtype=object)
