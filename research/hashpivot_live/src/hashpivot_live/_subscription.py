"""A subscription: what waits to be handed out, and where to go on."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._errors import LiveError, ProtocolError
from ._messages import Cursor, Message, decode

if TYPE_CHECKING:
    from ._client import Client

PATIENCE = 1 << 18
"""Messages that may wait while an answer is due, which lies behind them: who waits for it may be who ought to take them."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Messages that the gateway left out: of one symbol, or of the whole subscription where symbol is empty."""

    count: int
    first: Cursor
    last: Cursor
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole that cannot be closed: everything up to since was handed out, and it goes on behind until (None: with a snapshot)."""

    since: Cursor | None
    until: Cursor | None
    cause: LiveError


@dataclass(slots=True)
class Batch:
    """What one frame brought, in the order in which it is handed out."""

    gap: Gap | None = None
    skipped: list[Skipped] = field(default_factory=list)
    begins: bool = False  # a snapshot
    msgs: deque[Message] = field(default_factory=deque)
    live: Cursor | None = None  # history has been caught up with
    after: Cursor | None = None  # everything up to here was handed out then


def parse_skipped(raw: object) -> list[Skipped]:
    if not isinstance(raw, list):
        raise ProtocolError(f"skipped is {raw!r:.80}")
    out = []
    for s in raw:
        try:
            one = Skipped(s["count"], Cursor.parse(s["from"]), Cursor.parse(s["to"]), s.get("symbol", ""))
        except (TypeError, KeyError, AttributeError):
            raise ProtocolError(f"skipped is {s!r:.80}") from None
        if type(one.count) is not int or one.count < 1 or one.first.stream != one.last.stream or one.first.after(one.last):
            raise ProtocolError(f"skipped {s!r:.80} makes no sense")
        out.append(one)
    return out


class Subscription:
    """A selection of messages, whichever connection brings them: each once and in order, after a snapshot if one was asked for.

    Iterate over it, from one task. It may be left and taken up again: it goes on behind the last message.
    """

    def __init__(self, client: Client, request: dict[str, Any]) -> None:
        self._client = client
        self._request = request
        self._name = ""  # on the current connection
        self._asking = False
        self._accepted = False
        self._answered = asyncio.Event()  # accepted, or ended
        self._finished = False
        self._error: BaseException | None = None
        self._queue: deque[Batch] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._position: Cursor | None = None
        self._cursor: Cursor | None = None
        self._stream = ""
        self._epoch = str(request.get("epoch", ""))
        self._waiting = False
        self._shown: set[Cursor] | None = None
        self._shown_at: Cursor | None = None
        self._hole: Gap | None = None
        self._wait = client.first_wait
        self.dropped = 0
        """Messages that came again, or behind later ones, and were not handed out."""
        source = request.get("from", "live")
        if ":" in source and source[:1].isalpha():
            self._cursor = self._position = Cursor.parse(source)

    def __str__(self) -> str:
        what = [self._request["channel"]] if "channel" in self._request else ["replay"]
        return "/".join(what + [",".join(self._request.get("symbols", []))]).rstrip("/")

    @property
    def position(self) -> tuple[str, str]:
        """Up to where everything was handed out, and its epoch: kept somewhere, they are the from_ and epoch from which another process goes on
        without a hole. The cursor is empty before the first message or heartbeat."""
        return "" if self._position is None else str(self._position), self._epoch

    async def accepted(self) -> None:
        """Wait until the gateway has accepted it; what it refuses is a LiveError. Iterating does that too."""
        await self._answered.wait()
        if self._error is not None and not self._accepted:
            raise self._error

    def close(self) -> None:
        """End it; what waits in it is dropped."""
        self._queue.clear()
        self._queued = 0
        self._finish(None)
        self._client._drop(self)

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Message]:
        while True:
            while self._queue:
                batch = self._queue[0]
                c = self._client
                if batch.gap is not None:
                    gap, batch.gap = batch.gap, None
                    self._position = gap.until
                    if c.on_gap is not None:
                        c.on_gap(self, gap)
                elif batch.skipped:
                    skipped, batch.skipped = batch.skipped, []
                    if c.on_skipped is not None:
                        c.on_skipped(self, skipped)
                elif batch.begins:
                    batch.begins = False
                    if c.on_snapshot is not None:
                        c.on_snapshot(self)
                elif batch.msgs:
                    m = batch.msgs.popleft()
                    self._queued -= 1
                    self._room.set()
                    if not m.snapshot and not isinstance(self, Replay):
                        self._position = m.cursor
                    yield m
                elif batch.live is not None:
                    at, batch.live = batch.live, None
                    if c.on_live is not None:
                        c.on_live(self, at)
                else:
                    if batch.after is not None and batch.after.after(self._position):
                        self._position = batch.after
                    self._queue.popleft()
            if self._finished:
                if self._error is not None:
                    raise self._error
                return
            self._wake.clear()
            await self._wake.wait()

    def _finish(self, error: BaseException | None) -> None:
        if not self._finished:
            self._finished = True
            self._error = error
            self._answered.set()
            self._wake.set()
            self._room.set()

    def _push(self, batch: Batch) -> None:
        if not self._finished:
            self._queue.append(batch)
            self._queued += len(batch.msgs)
            self._wake.set()

    def _next_wait(self) -> float:
        wait = self._wait
        self._wait = min(2 * wait, self._client.max_wait)
        return wait * random.uniform(0.5, 1.5)

    # Where to go on.

    def _ask(self) -> dict[str, Any] | None:
        """What to ask the gateway for; None: nothing now."""
        if self._finished or self._name or self._asking:
            return None
        self._asking = True
        r = dict(self._request)
        if self._cursor is not None:
            r["from"] = str(self._cursor)
            r["epoch"] = self._epoch
        elif self._hole is not None and r.get("from") != "snapshot":
            # A time or cursor that was asked for lies before the hole.
            r["from"] = "live"
            r.pop("epoch", None)
        else:
            self._waiting = r.get("from") == "snapshot"
        if not r.get("epoch"):
            r.pop("epoch", None)
        return r

    def _begin(self, name: str, state: dict[str, Any]) -> None:
        """Take over the acknowledged state."""
        start = Cursor.parse(state.get("start"))
        epoch = str(state.get("epoch", ""))
        if self._epoch and epoch != self._epoch:
            raise LiveError("other_epoch", f"the stream has epoch {epoch:.64} now; cursor {self._cursor} is of {self._epoch}")
        self._epoch = epoch
        self._stream = start.stream
        if self._cursor is None and not self._waiting:
            self._cursor = start
        if self._hole is not None:
            self._push(Batch(gap=Gap(self._hole.since, self._cursor, self._hole.cause)))
            self._hole = None
        self._bind(name)

    def _bind(self, name: str) -> None:
        self._name = name
        self._accepted = True
        self._answered.set()

    def _gap(self, cause: LiveError) -> None:
        """Forget where it stood, because the gateway cannot go on there."""
        if self._hole is None:
            self._hole = Gap(self._cursor, None, cause)
        self._cursor, self._epoch, self._shown = None, "", None

    def _accept(self, frame: dict[str, Any]) -> Batch:
        """Take from a data or snapshot frame what lies behind the cursor."""
        snapshot = frame["type"] == "snapshot"
        raw = frame.get("messages")
        if not isinstance(raw, list):
            raise ProtocolError(f"messages of {self} are {raw!r:.80}")
        msgs = [decode(m, snapshot) for m in raw]
        skipped = parse_skipped(frame["skipped"]) if "skipped" in frame else []
        if msgs:
            self._wait = self._client.first_wait
        for m in msgs:
            self._check(m.cursor)
        batch = Batch(skipped=skipped)
        if snapshot:
            at = Cursor.parse(frame.get("position"))
            self._check(at)
            if self._shown is None or at != self._shown_at:
                self._shown, self._shown_at, batch.begins = set(), at, True
            for m in msgs:
                if m.cursor in self._shown:
                    self.dropped += 1
                else:
                    self._shown.add(m.cursor)
                    batch.msgs.append(m)
            self._waiting = False
            if at.after(self._cursor):
                self._cursor = at
            batch.after = at
            return batch
        self._waiting, self._shown = False, None
        batch.msgs.extend(self._fresh(msgs))
        return batch

    def _fresh(self, msgs: list[Message]) -> list[Message]:
        out = []
        for m in msgs:
            if m.cursor.after(self._cursor):
                self._cursor = m.cursor
                out.append(m)
            else:
                self.dropped += 1
        return out

    def _check(self, at: Cursor) -> None:
        if at.stream != self._stream:
            raise ProtocolError(f"{self} is of {self._stream}, and was sent {at}")

    def _move_on(self, at: Cursor) -> None:
        """The gateway has sent everything up to at."""
        if self._waiting or self._finished:
            return
        self._check(at)
        if not at.after(self._cursor):
            return
        self._cursor = at
        if not self._queue:
            self._position = at
        elif at.after(self._queue[-1].after):
            self._queue[-1].after = at


class Replay(Subscription):
    """A span of history at a pace. A connection that is lost is made again and the replay goes on where it was."""

    def __init__(self, client: Client, request: dict[str, Any]) -> None:
        super().__init__(client, request)
        self._cursor = self._position = None
        self._paused = False
        # Of the last message; the cursors of that very time are left out when the replay goes on.
        self._at = ""
        self._at_ns = -1
        self._seen: set[Cursor] = set()
        self._changed = False
        self._goes_on = False  # the gateway's replay begins later than ours did

    def _ask(self) -> dict[str, Any] | None:
        if self._finished or self._name or self._asking or self._paused:
            return None
        self._asking = True
        self._changed = False
        self._goes_on = bool(self._at)
        return dict(self._request, start=self._at) if self._at else dict(self._request)

    def _begin(self, name: str, state: dict[str, Any]) -> None:
        if self._changed:
            raise LiveError("unavailable", "the replay was changed while it was asked for")
        self._bind(name)

    def _gap(self, cause: LiveError) -> None:
        self._finish(cause)

    def _check(self, at: Cursor) -> None:
        pass

    def _fresh(self, msgs: list[Message]) -> list[Message]:
        by_event = self._request.get("clock", "event") == "event"
        out = []
        for m in msgs:
            ns = m.event_time_ns if by_event else m.stream_time_ns
            if ns > self._at_ns:
                self._at_ns = ns
                self._at = m.raw.get("event_time" if by_event else "stream_time", "")
                self._seen = {m.cursor}
            elif ns == self._at_ns:
                if m.cursor in self._seen:
                    self.dropped += 1
                    continue
                self._seen.add(m.cursor)
            out.append(m)
        return out

    def _move_on(self, at: Cursor) -> None:
        pass

    async def pause(self) -> None:
        """Stop the clock. What is on its way still comes."""
        await self._client._control(self, {"action": "pause"}, lambda: setattr(self, "_paused", True))

    async def resume(self) -> None:
        """Let the clock go on."""
        await self._client._control(self, {"action": "resume"}, lambda: setattr(self, "_paused", False))

    async def set_speed(self, speed: float) -> None:
        """Change the pace; 0: as fast as it is read."""
        await self._client._control(self, {"action": "speed", "speed": speed}, lambda: self._request.update(speed=speed))

    async def seek(self, start: str) -> None:
        """Go to another time of the span. When it returns, what is handed out is of there."""

        def apply() -> None:
            self._request["start"] = start
            self._at, self._at_ns = "", -1
            self._seen.clear()
            self._queue.clear()
            self._queued = 0
            self._room.set()

        await self._client._control(self, {"action": "seek", "start": start}, apply)
