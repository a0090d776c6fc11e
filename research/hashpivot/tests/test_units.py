"""What needs no server."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import nbformat
import numpy as np
import pandas as pd
import pytest

from hashpivot import calendar, connection, plots, run, study
from hashpivot.connection import Database
from hashpivot.errors import MarkUnclear, Unreachable

NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize(
    ("kind", "values", "dtype", "want"),
    [
        ("Decimal(38, 19)", [Decimal("0.1"), Decimal("12345678.0123456789012345678")], "float64", [0.1, 12345678.012345679]),
        ("Nullable(Decimal(38, 8))", [None, Decimal("0.00000000")], "float64", [float("nan"), 0.0]),
        ("LowCardinality(Nullable(String))", ["a", None], "str", ["a", None]),
        ("Nullable(Bool)", [None, True], "boolean", [pd.NA, True]),
        ("Bool", [False, True], "bool", [False, True]),
        ("UInt64", [2**64 - 1], "uint64", [2**64 - 1]),
        ("Nullable(UInt32)", [None, 7], "UInt32", [pd.NA, 7]),
        ("Date", [date(2024, 6, 6)], "datetime64[s]", [pd.Timestamp("2024-06-06")]),
        ("DateTime64(9, 'UTC')", [1717632000123456789], "datetime64[ns, UTC]", [pd.Timestamp("2024-06-06 00:00:00.123456789", tz="UTC")]),
        ("Nullable(DateTime64(3, 'UTC'))", [None, 1717632000123], "datetime64[ns, UTC]", [pd.NaT, pd.Timestamp("2024-06-06 00:00:00.123", tz="UTC")]),
    ],
)  # fmt: skip
def test_types_are_set_once(kind: str, values: list[Any], dtype: str, want: list[Any]) -> None:
    got = connection._series(values, kind, exact=False)
    assert str(got.dtype) == dtype
    pd.testing.assert_series_equal(got, pd.Series(want, dtype=cast(Any, dtype)))


def test_exact_keeps_every_digit_of_a_decimal() -> None:
    d = Decimal("12345678.0123456789012345678")
    assert list(connection._series([d, None], "Nullable(Decimal(38, 19))", exact=True)) == [d, None]


@pytest.mark.parametrize("kind", ["UInt8", "Date", "DateTime64(9, 'UTC')", "Decimal(18, 8)", "String", "Bool", "Nullable(Float64)"])
def test_an_empty_column_has_its_type(kind: str) -> None:
    assert connection._series([], kind, False).dtype == connection._series([], f"LowCardinality({kind})", False).dtype


def test_moments_go_in_with_all_their_digits_and_in_utc() -> None:
    assert connection.text(pd.Timestamp("2026-11-20 12:00:00.123456789", tz="America/New_York")) == "2026-11-20 17:00:00.123456789"
    assert connection.text(datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC)) == "2026-11-20 01:02:03.000000"
    assert connection.text(date(2026, 11, 20)) == "2026-11-20"
    assert study.moment("2026-11-20 12:00:00") == study.moment("2026-11-20T07:00:00-05:00") == datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_nobody_there_is_said_so() -> None:
    with pytest.raises(Unreachable, match=r"connect to http://127\.0\.0\.1:1: .*is hashpivot running there"):
        connection.connect("http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="want http://host:port"):
        connection.connect("ftp://127.0.0.1")


def test_the_calendar_is_that_of_the_pipeline() -> None:
    yaml = (Path(__file__).resolve().parents[3] / "pkg/session/us_equities.yaml").read_text()
    listed = re.search(r"^holidays:\s*\[(.*?)\]", yaml, re.M | re.S)
    years = re.search(r"^years: \{from: (\d+), to: (\d+)\}", yaml, re.M)
    assert listed and years
    assert {date.fromisoformat(d.strip()) for d in listed[1].split(",")} == calendar.HOLIDAYS
    assert (int(years[1]), int(years[2])) == (calendar.YEARS[0], calendar.YEARS[-1])


def test_missing_days_are_told_as_runs() -> None:
    want = calendar.trade_dates(date(2024, 6, 17), date(2024, 6, 25))
    assert date(2024, 6, 19) not in want and len(want) == 6
    missing = [date(2024, 6, 18), date(2024, 6, 20), date(2024, 6, 24)]
    assert calendar.runs(missing, want) == [(date(2024, 6, 18), date(2024, 6, 20), 2), (date(2024, 6, 24), date(2024, 6, 24), 1)]


def test_no_line_crosses_a_missing_day() -> None:
    x, y = plots.broken([date(2024, 6, 3), date(2024, 6, 4), date(2024, 6, 6)], [1.0, 2.0, 3.0], "utc")
    assert np.isnan(y).tolist() == [False, False, True, False] and x == sorted(x)
    assert plots.alone(y).tolist() == [False, False, False, True]
    # A weekend and Juneteenth are no gaps for what trades; a Monday is.
    _, y = plots.broken([date(2024, 6, 14), date(2024, 6, 17), date(2024, 6, 18), date(2024, 6, 20)], [1.0] * 4, "trade")
    assert not np.isnan(y).any()
    _, y = plots.broken([date(2024, 6, 14), date(2024, 6, 18)], [1.0] * 2, "trade")
    assert np.isnan(y).sum() == 1


def chart(mark: str = "rec-") -> plots.Chart:
    return plots.Chart("Title", unit="USD", source="here", n=2, as_of=datetime(2026, 1, 1, tzinfo=UTC), trade_date=date(2024, 6, 6), mark=mark)


def test_a_chart_says_what_it_shows() -> None:
    c = chart()
    c.line([date(2024, 6, 3), date(2024, 6, 4)], [1.0, float("nan")], "a", reasons=["", "stale rate"])
    c.events(pd.DataFrame({"date": [pd.Timestamp("2024-06-03")], "title": ["costs $1 and $2"], "confirmed": [False]}), date(2024, 6, 1), date(2024, 6, 6))
    c.legend()
    assert c.png().startswith(b"\x89PNG")
    texts = " ".join(t.get_text() for t in c.fig.texts) + c.ax.get_title(loc="left")
    for want in ("RECORDED", "here", "n = 2", "as of 2026-01-01", "1 days without a value", "stale rate", "costs $1 and $2 (not confirmed)"):
        assert want in texts
    assert c.ax.get_ylabel() == "USD"
    assert "·" not in chart("").title


def test_the_same_chart_is_the_same_picture() -> None:
    def one() -> bytes:
        c = chart()
        c.line([date(2024, 6, 3), date(2024, 6, 4)], [1.0, 2.0], "a")
        return c.png()

    assert one() == one()


def test_an_empty_chart_says_that_it_is_empty() -> None:
    c = chart()
    c.line([], [], "a")
    c.events(pd.DataFrame({"date": [pd.Timestamp("2024-06-03")], "title": ["x"], "confirmed": [True]}), date(2024, 6, 1), date(2024, 6, 6))
    c.png()
    assert "no data" in " ".join(t.get_text() for t in c.ax.texts) and not c.ax.lines


def bare() -> study.Study:
    s = study.Study.__new__(study.Study)
    s.notebook, s._results = "n", {}
    return s


def test_a_figure_is_finite_or_says_why_it_is_none() -> None:
    s = bare()
    s.record("a", np.float64(1.5), "USD")
    s.record("a", np.int64(2), "USD")  # a cell that runs again replaces
    s.record("b", float("nan"), "ratio", "no rate")
    s.record("c", "holds", "")
    assert [(r["name"], r["value"]) for r in s._results.values()] == [("a", 2), ("b", None), ("c", "holds")]
    json.dumps(list(s._results.values()), allow_nan=False)
    with pytest.raises(ValueError, match="no value and no reason"):
        s.record("d", None, "USD")
    with pytest.raises(ValueError, match="is no figure"):
        s.record("e", float("inf"), "USD")


def test_a_value_on_a_day_or_the_reason() -> None:
    f = pd.DataFrame({"day": pd.to_datetime(["2024-06-05", "2024-06-06"]), "v": [1.0, float("nan")], "reason": ["", "stale"]})
    assert study.on_day(f, date(2024, 6, 5), "v") == (1.0, "")
    assert study.on_day(f, date(2024, 6, 6), "v") == (None, "stale")
    assert study.on_day(f, date(2024, 6, 7), "v") == (None, "no row on 2024-06-07; the last is of 2024-06-05")
    assert study.on_day(f.iloc[:0], date(2024, 6, 7), "v", "no feed") == (None, "no feed")


def test_marks_are_chosen_and_never_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    db = Database.__new__(Database)
    db.name = "d"
    for there, want in (([], ""), (["rec-"], "rec-")):
        monkeypatch.setattr("hashpivot.views.marks", lambda _, t=there: t)
        assert study.choose_mark(db, "auto") == want
    monkeypatch.setattr("hashpivot.views.marks", lambda _: ["", "rec-"])
    with pytest.raises(MarkUnclear, match="live and RECORDED data: choose one"):
        study.choose_mark(db, "auto")
    assert study.choose_mark(db, "live") == "" and study.choose_mark(db, "rec-") == "rec-"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_kept_without_answers(path: Path) -> None:
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    code = [c for c in nb.cells if c.cell_type == "code"]
    assert all(not c.outputs and c.execution_count is None for c in code)
    assert nb.cells[0].cell_type == "markdown" and nb.cells[0].source.startswith("# ")
    assert code[-1].source.rstrip().endswith("study.close()")
    run.inject(nb, run.Parameters("2024-06-06", "2200-01-01 00:00:00", "d", "u"))
    run.inject(nb, run.Parameters("2024-06-07", "2200-01-01 00:00:00", "d", "u"))  # twice is once
    injected = [c.source for c in nb.cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert len(injected) == 1 and "trade_date = '2024-06-07'" in injected[0]


def test_results_of_one_notebook_replace_its_own(tmp_path: Path) -> None:
    for notebook, value in (("a", 1), ("b", 2), ("a", 3)):
        run.keep(tmp_path, notebook, [{"notebook": notebook, "name": "x", "value": value, "unit": "", "note": ""}])
    lines = [json.loads(x) for x in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(x["notebook"], x["value"]) for x in lines] == [("b", 2), ("a", 3)]


def test_a_notebook_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["99_none", "--date", "2024-06-06", "--url", "http://127.0.0.1:1", "--output", str(tmp_path)]) == 1
    told = json.loads((tmp_path / "99_none.error.json").read_text())
    assert "no such file" in told["error"] and "01_pivot" in told["error"] and "is hashpivot running there" in told["state"]["unknown"]
    assert "99_none" in capsys.readouterr().err
