"""Messages: the rows of the tables (docs/quants.md), typed. A field that a message does not have is zero, empty or None."""

from __future__ import annotations

import calendar
import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, get_type_hints

from ._errors import ProtocolError

WHOLE = 2**32 - 1
"""Index of a cursor that stands for all events of its message."""

_CURSOR = re.compile(r"([A-Z]{1,16}):(0|[1-9][0-9]{0,19})(?::(0|[1-9][0-9]{0,9}))?")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?Z")


class Cursor(NamedTuple):
    """A place in a stream: who holds it has everything up to and including it."""

    stream: str
    seq: int
    idx: int = WHOLE

    @classmethod
    def parse(cls, text: object) -> Cursor:
        found = _CURSOR.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ProtocolError(f"{text!r:.80} is no cursor such as TRADES:18231:4")
        idx = WHOLE if found[3] is None else int(found[3])
        if int(found[2]) >= 2**64 or found[3] is not None and idx >= WHOLE:
            raise ProtocolError(f"cursor {text!r:.80} is out of range")
        return cls(found[1], int(found[2]), idx)

    def after(self, other: Cursor | None) -> bool:
        return other is None or (self.seq, self.idx) > (other.seq, other.idx)

    def __str__(self) -> str:
        return f"{self.stream}:{self.seq}" if self.idx == WHOLE else f"{self.stream}:{self.seq}:{self.idx}"


def time_ns(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time in UTC."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ProtocolError(f"{text!r:.80} is no time in UTC")
    parts = [int(p) for p in found.groups()[:6]]
    try:
        datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError as e:
        raise ProtocolError(f"{text!r:.80} is no time: {e}") from None
    return calendar.timegm((*parts, 0, 0, 0)) * 10**9 + int((found[7] or "").ljust(9, "0"))


def to_datetime(ns: int) -> datetime:
    """A time as datetime, cut to microseconds; the _ns fields have all digits."""
    return datetime.fromtimestamp(ns // 10**9, UTC).replace(microsecond=ns % 10**9 // 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What every message has."""

    type: str
    cursor: Cursor
    stream_time_ns: int = 0
    event_time_ns: int = 0
    recv_time_ns: int = 0
    source: str = ""
    rev: int = 0
    backfill: bool = False
    snapshot: bool = field(default=False, metadata={"ours": True})
    """The last value of a symbol, told beside the order: at the beginning, or after messages were skipped."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, metadata={"ours": True})
    """The message as it came, with fields that this version does not know."""

    @property
    def stream_time(self) -> datetime:
        return to_datetime(self.stream_time_ns)

    @property
    def event_time(self) -> datetime:
        return to_datetime(self.event_time_ns)

    @property
    def recv_time(self) -> datetime:
        return to_datetime(self.recv_time_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade(Message):
    action: str = ""
    symbol: str = ""
    trade_id: str = ""
    exchange: str = ""
    tape: str = ""
    price_usd: Decimal = Decimal()
    size_shares: Decimal = Decimal()
    conditions: tuple[str, ...] = ()
    original_trade_id: str = ""
    original_price_usd: Decimal = Decimal()
    original_size_shares: Decimal = Decimal()
    cancel_code: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote(Message):
    symbol: str = ""
    bid_exchange: str = ""
    ask_exchange: str = ""
    bid_price_usd: Decimal = Decimal()
    ask_price_usd: Decimal = Decimal()
    bid_size_shares: Decimal = Decimal()
    ask_size_shares: Decimal = Decimal()
    conditions: tuple[str, ...] = ()
    tape: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar(Message):
    symbol: str = ""
    interval: str = ""
    open_usd: Decimal = Decimal()
    high_usd: Decimal = Decimal()
    low_usd: Decimal = Decimal()
    close_usd: Decimal = Decimal()
    volume: Decimal = Decimal()
    vwap_usd: Decimal = Decimal()
    trade_count: int = 0
    final: bool = False
    session: str = ""
    trade_date: str = ""
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt(Message):
    kind: str = ""
    symbol: str = ""
    status_code: str = ""
    status_text: str = ""
    reason_code: str = ""
    reason_text: str = ""
    tape: str = ""
    limit_up_usd: Decimal = Decimal()
    limit_down_usd: Decimal = Decimal()
    indicator: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imbalance(Message):
    symbol: str = ""
    exchange: str = ""
    tape: str = ""
    price_usd: Decimal = Decimal()
    imbalance_shares: Decimal = Decimal()
    paired_shares: Decimal = Decimal()
    clearing_price_usd: Decimal = Decimal()
    auction: str = ""
    auction_time: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Message):
    height: int = 0
    hash: str = ""
    previous_hash: str = ""
    difficulty: Decimal = Decimal()
    subsidy_sat: int = 0
    fees_sat: int = 0
    reward_sat: int = 0
    tx_count: int = 0
    size_bytes: int = 0
    weight_units: int = 0
    pool: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difficulty(Message):
    height: int = 0
    difficulty: Decimal = Decimal()
    change_percent: float | None = None
    estimated_change_percent: float | None = None
    remaining_blocks: int = 0
    next_retarget_height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees(Message):
    fastest_sat_per_vb: Decimal = Decimal()
    half_hour_sat_per_vb: Decimal = Decimal()
    hour_sat_per_vb: Decimal = Decimal()
    economy_sat_per_vb: Decimal = Decimal()
    minimum_sat_per_vb: Decimal = Decimal()


@dataclass(frozen=True, slots=True, kw_only=True)
class BTCPrice(Message):
    price_usd: Decimal = Decimal()
    bid_usd: Decimal = Decimal()
    ask_usd: Decimal = Decimal()
    volume_24h_btc: Decimal = Decimal()
    venue_seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashprice(Message):
    method: str = ""
    height: int = 0
    difficulty: Decimal = Decimal()
    subsidy_sat: int = 0
    mean_fees_sat: Decimal = Decimal()
    fee_window_blocks: int = 0
    btc_usd: Decimal = Decimal()
    btc_usd_source: str = ""
    btc_usd_age_ms: int = 0
    hashprice_btc: Decimal = Decimal()
    hashprice_sat: Decimal = Decimal()
    hashprice_usd: Decimal = Decimal()
    network_ehs: Decimal = Decimal()
    inputs: Mapping[str, str] = field(default_factory=dict)
    published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer(Message):
    action: str = ""
    provider: str = ""
    offer_id: str = ""
    host_id: str = ""
    machine_id: str = ""
    gpu: str = ""
    gpu_name: str = ""
    gpu_count: int = 0
    gpu_memory_mib: int = 0
    rental_class: str = field(default="", metadata={"name": "class"})
    usd_per_gpu_hour: Decimal = Decimal()
    raw_price: Decimal = Decimal()
    raw_unit: str = ""
    region: str = ""
    verified: bool = False
    rentable: bool = False
    reliability: float | None = None
    via: str = ""
    stock: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Message):
    gpu: str = ""
    rental_class: str = field(default="", metadata={"name": "class"})
    method: str = ""
    version: int = 0
    usd_per_gpu_hour: Decimal = Decimal()
    p10_usd_per_gpu_hour: Decimal = Decimal()
    p90_usd_per_gpu_hour: Decimal = Decimal()
    dispersion: float | None = None
    sample_offers: int = 0
    sample_gpus: int = 0
    sample_hosts: int = 0
    sample_providers: int = 0
    constituent_providers: tuple[str, ...] = ()
    constituent_usd_per_gpu_hour: tuple[Decimal, ...] = ()
    constituent_gpus: tuple[int, ...] = ()
    constituent_offers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(Message):
    name: str = ""
    symbol: str = ""
    value: Decimal = Decimal()
    unit: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEvent(Message):
    state: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedGap(Message):
    gap_id: str = ""
    symbol: str = ""
    from_time_ns: int = 0
    to_time_ns: int = 0
    reason: str = ""
    state: str = ""
    recovered: int = 0


TYPES: Mapping[str, type[Message]] = {
    "trade": Trade,
    "quote": Quote,
    "bar": Bar,
    "halt": Halt,
    "imbalance": Imbalance,
    "block": Block,
    "difficulty": Difficulty,
    "fees": Fees,
    "btc_price": BTCPrice,
    "hashprice": Hashprice,
    "offer": Offer,
    "rate": Rate,
    "signal": Signal,
    "feed_event": FeedEvent,
    "feed_gap": FeedGap,
}


def _decimal(v: object) -> Decimal:
    if not isinstance(v, str):
        raise ValueError("decimals are text")
    d = Decimal(v)
    if not d.is_finite():
        raise ValueError("not finite")
    return d


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(v: object) -> object:
        if type(v) is not kind:
            raise ValueError(f"no {kind.__name__}")
        return v

    return read


def _float(v: object) -> float:
    if type(v) is not float and type(v) is not int:
        raise ValueError("no number")
    return float(v)


def _pairs(v: object) -> Mapping[str, str]:
    if not isinstance(v, dict) or not all(isinstance(x, str) for x in v.values()):
        raise ValueError("no object of texts")
    return v


def _list(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_list(v: object) -> tuple[Any, ...]:
        if not isinstance(v, list):
            raise ValueError("no list")
        return tuple(read(x) for x in v)

    return read_list


def _time(v: object) -> int:
    if not isinstance(v, str):
        raise ValueError("times are text")
    return time_ns(v)


_READERS: dict[Any, Callable[[Any], Any]] = {
    Decimal: _decimal,
    str: _exactly(str),
    int: _exactly(int),
    bool: _exactly(bool),
    float | None: _float,
    tuple[str, ...]: _list(_exactly(str)),
    tuple[int, ...]: _list(_exactly(int)),
    tuple[Decimal, ...]: _list(_decimal),
    Mapping[str, str]: _pairs,
    Cursor: Cursor.parse,
}


def _fields(cls: type[Message]) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """By its name in JSON: a field's name and reader."""
    hints = get_type_hints(cls)
    out = {}
    for f in dataclasses.fields(cls):
        if f.metadata.get("ours"):
            continue
        time = f.name.endswith("_time_ns")
        name = f.name.removesuffix("_ns") if time else f.metadata.get("name", f.name)
        out[name] = (f.name, _time if time else _READERS[hints[f.name]])
    return out


FIELDS = {kind: _fields(cls) for kind, cls in TYPES.items()}


def decode(raw: object, snapshot: bool) -> Message:
    """Read one message; what does not fit is a ProtocolError."""
    if not isinstance(raw, dict) or not isinstance(kind := raw.get("type"), str) or kind not in TYPES:
        raise ProtocolError(f"message {raw!r:.80} has no type that this version knows")
    values: dict[str, Any] = {"snapshot": snapshot, "raw": raw}
    fields = FIELDS[kind]
    for name, v in raw.items():
        if (known := fields.get(name)) is not None:
            try:
                values[known[0]] = known[1](v)
            except (ValueError, InvalidOperation, ProtocolError) as e:
                raise ProtocolError(f"{kind}.{name} is {v!r:.80}: {e}") from None
    if "cursor" not in values or values["cursor"].idx == WHOLE:
        raise ProtocolError(f"message {raw!r:.80} has no cursor")
    return TYPES[kind](**values)
