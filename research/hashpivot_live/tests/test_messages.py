"""Messages: read exactly, and as the gateway writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateway import trade

from hashpivot_live import TYPES, Cursor, Difficulty, Offer, ProtocolError, Rate, Trade
from hashpivot_live._messages import FIELDS, _fields, decode, time_ns

ROOT = Path(__file__).parents[3]


def test_trade() -> None:
    m = decode({**trade(18231, 0), "event_time": "2026-11-25T15:30:00.120394821Z", "conditions": ["@", "I"], "of_tomorrow": 1}, False)
    assert isinstance(m, Trade)
    assert m.cursor == Cursor("TRADES", 18231, 0)
    assert (m.price_usd, m.size_shares, m.conditions, m.original_price_usd) == (Decimal("16.42"), Decimal(100), ("@", "I"), Decimal(0))
    assert m.event_time_ns == 1795620600120394821
    assert m.event_time == datetime(2026, 11, 25, 15, 30, 0, 120394, UTC)
    assert m.raw["of_tomorrow"] == 1


def test_absent_is_not_zero_where_that_differs() -> None:
    base = {"cursor": "NETWORK:1:0"}
    m = decode({**base, "type": "difficulty", "change_percent": 0}, False)
    assert isinstance(m, Difficulty) and m.change_percent == 0 and m.estimated_change_percent is None
    o = decode({**base, "type": "offer", "class": "on-demand"}, False)
    assert isinstance(o, Offer) and o.rental_class == "on-demand" and o.reliability is None
    r = decode({**base, "type": "rate", "constituent_usd_per_gpu_hour": ["1.5"], "constituent_gpus": [3]}, True)
    assert isinstance(r, Rate) and r.constituent_usd_per_gpu_hour == (Decimal("1.5"),) and r.constituent_gpus == (3,) and r.snapshot


@pytest.mark.parametrize(
    "change",
    [
        {"type": "unknown"}, {"type": None}, {"cursor": "TRADES:1"}, {"cursor": "TRADES:01:0"}, {"cursor": f"TRADES:{2**64}:0"}, {"cursor": f"TRADES:1:{2**32 - 1}"},
        {"cursor": 5}, {"price_usd": 1.5}, {"price_usd": "NaN"}, {"price_usd": "1,5"}, {"price_usd": "Infinity"}, {"symbol": 5}, {"sequence": True}, {"sequence": "1"},
        {"backfill": 1}, {"conditions": "@"}, {"conditions": [1]}, {"event_time": "2026-11-25T15:30:00+01:00"}, {"event_time": "2026-02-30T00:00:00Z"},
        {"event_time": 5},
    ],
)  # fmt: skip
def test_hostile(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        decode({**trade(1), **change}, False)


def test_no_object() -> None:
    for raw in (None, 7.5, "trade", 5):
        with pytest.raises(ProtocolError):
            decode(raw, False)


def test_time() -> None:
    assert time_ns("1970-01-01T00:00:00Z") == 0
    assert time_ns("1969-12-31T23:59:59.5Z") == -500_000_000
    assert time_ns("2026-11-25T15:30:00.1Z") % 10**9 == 100_000_000


def test_fields_are_those_that_the_gateway_writes() -> None:
    """The Go code that writes messages is the contract: each type has its fields, in their kinds."""
    code = (ROOT / "pkg/live/json.go").read_text()
    events = (ROOT / "pkg/live/json_events.go").read_text()
    types = dict(re.findall(r'case \*market\.(\w+):\n\t\treturn "(\w+)"', code))
    del types["DeadLetter"]
    assert set(types.values()) == set(TYPES)
    kinds = {
        "text": "str", "uint": "int", "int": "int", "bool": "bool", "float": "float | None", "dec": "Decimal", "list": "tuple[str, ...]", "pairs": "Mapping[str, str]",
        "time": "int", "each": "tuple",
    }  # fmt: skip
    append = code[code.index("func AppendJSON") : code.index("// Type names")]
    common = dict(re.findall(r'\to\.(\w+)\("(\w+)"', append[: append.index("switch e")]))
    assert common
    for go, name in types.items():
        case = re.search(rf"case \*market\.{go}:\n((?:\t\to\..*\n)+)", append)
        assert case, go
        body = case[1]
        if (call := re.search(r"o\.(\w+)\(e\)\n", body)) is not None:
            start = events.index(f"func (o *object) {call[1]}(")
            body = events[start : events.index("\n}\n", start)]
        written = {n: kinds[k] for k, n in re.findall(r'o\.(\w+)\("(\w+)"', body)}
        cls = TYPES[name]
        base = set(_fields(cls.__mro__[1]))
        ours = {n: f for n, (f, _) in FIELDS[name].items() if n not in base}
        assert set(ours) == set(written), name
        for n, kind in written.items():
            declared = str(cls.__annotations__[ours[n]])
            assert declared.startswith(kind), f"{name}.{n} is {declared}, the gateway writes {kind}"
