"""Against the real engine: the built program serves recordings of real data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

from hashpivot import EVER, DatabaseMissing, HashpivotError, Need, QueryFailed, ViewMissing, connect, run, state, views
from hashpivot.connection import Database
from hashpivot.recorded import Server, serving

ROOT = Path(__file__).resolve().parents[3]
PROGRAM, RECORDINGS = ROOT / "bin/hashpivot", ROOT.parent / "shared/data"
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.skipif(not (PROGRAM.exists() and RECORDINGS.exists()), reason="needs make build, and recordings in ../shared/data")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(PROGRAM, RECORDINGS, tmp_path_factory.mktemp("recorded")) as s:
        yield s


@pytest.fixture(scope="module")
def db(server: Server) -> Iterator[Database]:
    with connect(server.url, server.database) as d:
        yield d


def test_connecting_is_for_reading(server: Server, db: Database) -> None:
    with pytest.raises(DatabaseMissing, match=f"there is no database nope; there is {server.database}"):
        connect(server.url, "nope")
    with pytest.raises(ViewMissing, match="no_such_view"):
        db.frame("SELECT * FROM no_such_view")
    with pytest.raises(QueryFailed, match="code 164"):
        db.frame("DROP TABLE bars")
    assert db.has("bars", "pivot") and not db.has("bars", "no_such_view")
    assert "USD per PH/s per day" in " ".join(db.columns("hashprice")["comment"])
    # An answer without rows has its columns and their types all the same.
    none = db.frame("SELECT event_time, hashprice_usd, published FROM hashprice WHERE method = {m:String}", {"m": "none"})
    assert {n: str(t) for n, t in none.dtypes.items()} == {"event_time": "datetime64[ns, UTC]", "hashprice_usd": "float64", "published": "bool"}


def test_views_answer_with_types_marks_and_as_of(db: Database) -> None:
    assert views.marks(db) == ["rec-"]
    day = date(2026, 3, 2)
    p = views.pivot(db, mark="rec-", until=day, gpus=["h100-sxm"])
    assert list(p["day"].dt.strftime("%Y-%m-%d")) == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert p["premium"].dtype == "float64" and (p["premium"] > 10).all() and p["reason"].eq("").all()
    exact = views.pivot(db, mark="rec-", since=day, until=day, gpus=["h100-sxm"], exact=True).iloc[0]
    assert isinstance(exact["premium"], Decimal) and float(exact["premium"]) == p["premium"].iloc[-1]
    for other in ("", "sim-"):
        assert views.hashprice(db, mark=other).empty and views.gpu_rates(db, mark=other).empty
    asked: tuple[Any, ...] = (views.hashprice, views.gpu_rates, views.difficulty, views.gaps)
    for f in asked:
        assert f(db, mark="rec-", as_of=LONG_AGO).empty and not f(db, mark="rec-", as_of=EVER).empty, f
    assert views.pivot(db, mark="rec-", as_of=LONG_AGO).empty and views.pivot(db, mark="sim-").empty
    assert views.reference(db, "ai_contracts", as_of=LONG_AGO).empty
    hp = views.hashprice(db, mark="rec-", until=date(2024, 6, 6))
    assert hp["day"].is_unique and hp["day"].max() == pd.Timestamp("2024-06-06") and hp["hashprice_usd"].gt(0).all()
    offers = views.offers(db, mark="rec-", day=day)
    assert len(offers) > 100 and offers["action"].ne("closed").all() and offers["offer_id"].is_unique
    assert views.offers(db, mark="rec-", day=date(2026, 3, 20)).empty  # nobody looked on that day


def look(db: Database, need: Need, day: str, as_of: datetime = EVER) -> state.Series:
    d = date.fromisoformat(day)
    return state.look(db, [need], trade_date=d, window_days=120, as_of=as_of, mark="rec-", gaps=views.gaps(db, mark="rec-")).series[0]


def test_the_data_state_says_what_is_missing(db: Database) -> None:
    assert look(db, state.HASHPRICE, "2024-06-06").note == ""
    assert look(db, state.HASHPRICE, "2026-08-03").note.startswith("none on 2026-08-03 (missing); the last is of 2026-06-01")
    assert look(db, Need.closes("CORZ"), "2020-01-02").note == "no row up to 2020-01-02; the first is of 2024-01-24"
    assert "(no trade date)" in look(db, Need.closes("CORZ"), "2024-06-09").note
    assert look(db, Need.closes("NONE"), "2024-06-06").note == "no row is stored at all"
    assert look(db, state.HASHPRICE, "2024-06-06", LONG_AGO).note.startswith("nothing was stored by 2001-01-01 00:00:00 UTC; the first row was stored at 20")
    rates = look(db, Need.rates("b200"), "2026-08-22")
    assert rates.missing_days == 6 and "2026-07-07 to 2026-07-08 (2)" in rates.gaps_text()
    assert look(db, Need("x", "no_such_table"), "2024-06-06").note.startswith("query")


def figures(directory: Path) -> dict[str, Any]:
    return {r["name"]: r for r in map(json.loads, (directory / "results.jsonl").read_text().splitlines())}


def execute(server: Server, notebook: str, day: str, output: Path, as_of: str = "2200-01-01 00:00:00", database: str = "") -> bool:
    return run.run(notebook, run.Parameters(day, as_of, database or server.database, server.url), output)


def test_a_notebook_twice_is_the_same_to_the_bit_and_asks_no_network(server: Server, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    assert execute(server, "03_gpu_rates", "2026-03-02", a) and execute(server, "03_gpu_rates", "2026-03-02", b)
    for name in ("results.jsonl", "03_gpu_rates.html", "03_gpu_rates.ipynb"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    html = (a / "03_gpu_rates.html").read_text()
    assert not re.search(r"""(?:src|href|srcset|action)\s*=\s*["'](?!data:)|url\(|@import|<script|<link|<iframe""", html), "the page asks for something"
    assert "RECORDED data" in html and html.count("data:image/png;base64") == 3
    f = figures(a)
    assert f["rate_h100-sxm"]["value"] > 1 and f["rate_b200"]["value"] is None and f["rate_b200"]["note"]
    assert not (a / "03_gpu_rates.error.json").exists()


def by_hand(server: Server, notebook: str, day: str, as_of: str = "2200-01-01 00:00:00") -> dict[str, dict[str, Any]]:
    """Run a notebook's cells in this process, as somebody at the keyboard would; its figures."""
    nb: Any = nbformat.read(run.find(notebook), as_version=4)
    run.inject(nb, run.Parameters(day, as_of, server.database, server.url))
    names: dict[str, Any] = {}
    for cell in nb.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{notebook}/{cell.id}", "exec"), names)
    figures: dict[str, dict[str, Any]] = names["study"]._results
    return figures


@pytest.mark.parametrize("notebook", [p.stem for p in run.NOTEBOOKS.glob("*.ipynb")])
def test_before_the_first_row_a_notebook_ends_well_and_says_so(server: Server, notebook: str, capsys: pytest.CaptureFixture[str]) -> None:
    f = by_hand(server, notebook, "2019-01-05", as_of="2001-01-01 00:00:00")
    numbers = {n: r for n, r in f.items() if isinstance(r["value"], (int, float)) and r["value"] != 0}
    numbers.pop("series_without_rows", None)  # how many are empty is a figure, too
    assert f and not numbers and all(r["note"] for r in f.values() if r["value"] is None)
    assert "nothing was stored by 2001-01-01" in capsys.readouterr().out


def test_a_failure_tells_cell_traceback_and_data(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nb: Any = nbformat.read(run.find("01_pivot"), as_version=4)
    at = 3  # behind the data state
    nb.cells[at:] = [nbformat.v4.new_code_cell("1 / 0  # a bug")]
    nbformat.write(nb, tmp_path / "broken.ipynb")
    assert not execute(server, str(tmp_path / "broken.ipynb"), "2026-03-02", tmp_path / "out")
    told = json.loads((tmp_path / "out/broken.error.json").read_text())
    assert told["notebook"] == "broken" and told["cell"] == at + 1 and told["source"] == "1 / 0  # a bug"
    assert told["error"].startswith("ZeroDivisionError") and "ZeroDivisionError" in "".join(told["traceback"])
    assert told["state"]["trade_date"] == "2026-03-02" and told["state"]["series"][0]["rows"] > 1000
    assert not (tmp_path / "out/results.jsonl").exists() and "broken: cell" in capsys.readouterr().err

    assert not execute(server, "01_pivot", "2026-03-02", tmp_path / "out", database="nope")
    told = json.loads((tmp_path / "out/01_pivot.error.json").read_text())
    assert "DatabaseMissing" in told["error"] and "DatabaseMissing" in told["state"]["unknown"]
    with pytest.raises(HashpivotError):
        run.find("99_none")
