"""One connection to a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import websockets
from websockets.asyncio.client import ClientConnection

from ._errors import Error, LiveError, LostError, ProtocolError, RefusedError
from ._messages import Cursor
from ._subscription import PATIENCE, Batch, Replay, Subscription, parse_skipped

if TYPE_CHECKING:
    from ._client import Client

Answer = Callable[[dict[str, Any] | None, Error | None], None]


async def expect(ws: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        frame = _frame(await ws.recv())
        if frame["type"] == kind:
            return frame
        if frame["type"] == "error":
            error = _error(frame)
            raise RefusedError(str(error)) if error.code in ("unauthorised", "forbidden") else error
        if frame["type"] != "heartbeat":
            raise ProtocolError(f"waited for {kind} and got {frame['type']!r:.40}")


def _frame(data: str | bytes) -> dict[str, Any]:
    try:
        frame = json.loads(data)
    except ValueError as e:
        raise ProtocolError(f"a frame is no JSON: {e}") from None
    except RecursionError:
        raise ProtocolError("a frame is nested too deeply") from None
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise ProtocolError(f"a frame has no type: {data!r:.80}")
    return frame


def _error(frame: dict[str, Any]) -> LiveError:
    return LiveError(str(frame.get("code", "internal")), str(frame.get("message", "")))


class Connection:
    """One connection."""

    def __init__(self, client: Client, ws: ClientConnection) -> None:
        self.client = client
        self.ws = ws
        beat = client.welcome.get("heartbeat_s")
        self.heartbeat = float(beat) if isinstance(beat, int | float) and 0.001 <= beat <= 3600 else 10.0
        self.names: dict[str, Subscription | None] = {}
        self.pending: dict[str, Answer] = {}
        self.last_id = 0
        self.told: str | None = None
        self.out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()
        self.ended = False

    async def serve(self) -> Error:
        """Read until the connection ends, and say why."""
        self.client._conn = self
        for work in (self._write(), self._tend(list(self.client._subs))):
            self._go(work)
        try:
            return await self._read()
        finally:
            self.ended = True
            self.client._conn = None
            tasks = list(self.tasks)
            for t in tasks:
                t.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):
                await self.ws.close()
            for s in self.names.values():
                if s is not None:
                    s._name = ""
            pending, self.pending = self.pending, {}
            for answer in pending.values():
                answer(None, LostError("the connection was lost"))

    def _go(self, work: Any) -> None:
        t = asyncio.create_task(work)
        self.tasks.add(t)
        t.add_done_callback(self.tasks.discard)

    async def _read(self) -> Error:
        mute = self.client.mute_after or 2.5 * self.heartbeat
        while True:
            try:
                async with asyncio.timeout(mute):
                    data = await self.ws.recv()
                await self._handle(_frame(data))
            except TimeoutError:
                return LostError("the gateway was mute")
            except websockets.ConnectionClosed as e:
                return self.client._closed(e, self.told)
            except Error as e:
                return e

    async def _write(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await self.ws.send(json.dumps(await self.out.get()))

    async def _tend(self, subs: list[Subscription]) -> None:
        """Subscribe what there is, and give signs of life."""
        limits = self.client.welcome.get("limits")
        per_second = limits.get("requests_per_second") if isinstance(limits, dict) else None
        for n, s in enumerate(subs):
            # Half of what is allowed leaves room for what is asked meanwhile.
            if isinstance(per_second, int | float) and per_second > 0 and n >= per_second:
                await asyncio.sleep(2 / per_second)
            self.subscribe(s)
        while True:
            await asyncio.sleep(self.heartbeat)
            self.out.put_nowait({"op": "ping"})

    def send(self, request: dict[str, Any], answer: Answer) -> None:
        if self.ended:
            answer(None, LostError("the connection was lost"))
            return
        self.last_id += 1
        key = str(self.last_id)
        self.pending[key] = answer
        self.out.put_nowait({**request, "id": key})
        # A reader that waits for room must read on now: the answer lies behind what it holds.
        for s in self.client._subs:
            s._room.set()

    def farewell(self, s: Subscription, name: str) -> None:
        if isinstance(s, Replay):
            self.send({"op": "control", "sub": name, "action": "stop"}, lambda ack, error: None)
        else:
            self.send({"op": "unsubscribe", "sub": name}, lambda ack, error: None)

    def subscribe(self, s: Subscription) -> None:
        request = s._ask()
        if request is None:
            return

        def answered(ack: dict[str, Any] | None, error: Error | None) -> None:
            s._asking = False
            if ack is not None:
                error = self._accepted(s, ack)
            if isinstance(error, LiveError):
                self._refused(s, error)

        self.send(request, answered)

    def _accepted(self, s: Subscription, ack: dict[str, Any]) -> LiveError | None:
        name = ack.get("sub")
        subs = ack.get("subscriptions")
        states = [e for e in subs if isinstance(e, dict) and e.get("sub") == name] if isinstance(subs, list) else []
        if not isinstance(name, str) or not name or not states and not isinstance(s, Replay):
            raise ProtocolError(f"the acknowledgement of {s} does not hold its subscription")
        error = None
        if not s._finished:
            try:
                s._begin(name, states[0] if states else {})
            except LiveError as e:
                error = e
        if error is not None or s._finished:
            self.names[name] = None
            self.farewell(s, name)
        else:
            self.names[name] = s
        return error

    def _refused(self, s: Subscription, error: LiveError) -> None:
        """Decide what becomes of a subscription that the gateway refused or ended."""
        if s._accepted and error.code in ("unavailable", "internal", "too_many"):
            self._go(self._again(s, s._next_wait()))
        elif s._accepted and self.client.on_gap is not None and error.code in ("purged", "other_epoch", "bad_cursor"):
            s._gap(error)
            self._go(self._again(s, s._next_wait()))
        else:
            s._finish(error)
            self.client._drop(s)

    async def _again(self, s: Subscription, wait: float) -> None:
        await asyncio.sleep(wait)
        self.subscribe(s)

    async def _handle(self, f: dict[str, Any]) -> None:
        kind = f["type"]
        if kind in ("data", "snapshot"):
            name = f.get("sub")
            if not isinstance(name, str) or name not in self.names:
                # Passing it over could be a hole.
                raise ProtocolError(f"data of subscription {name!r:.100}, which was never acknowledged")
            if (s := self.names[name]) is not None:
                await self._push(s, s._accept(f))
        elif kind == "ack":
            if (answer := self.pending.pop(str(f.get("id", "")), None)) is not None:
                answer(f, None)
        elif kind == "error":
            self._error(f)
        elif kind == "heartbeat":
            positions = f.get("positions")
            for name, at in positions.items() if isinstance(positions, dict) else ():
                if (s := self.names.get(name)) is not None:
                    s._move_on(Cursor.parse(at))
        elif (s := self.names.get(str(f.get("sub", "")))) is None:
            pass
        elif kind == "live":
            at = Cursor.parse(f.get("position"))
            s._move_on(at)
            await self._push(s, Batch(live=at))
        elif kind == "skipped":
            await self._push(s, Batch(skipped=parse_skipped(f.get("skipped"))))
        elif kind == "replay" and f.get("state") == "ended":
            s._finish(None)
            s._name = ""  # nothing to take back
            self.client._drop(s)
        # The rest informs (slow: the skipped frame behind it counts; shutdown: the close behind it), or is of a later version.

    def _error(self, f: dict[str, Any]) -> None:
        error, name = _error(f), str(f.get("sub", ""))
        if "id" in f:
            if (answer := self.pending.pop(str(f["id"]), None)) is not None:
                answer(None, error)
        elif (s := self.names.get(name)) is not None:
            self.names[name] = None  # what is still on its way is passed over: it comes again
            s._name = ""
            self._refused(s, error)
        else:
            self.told = str(error)

    async def _push(self, s: Subscription, batch: Batch) -> None:
        """Queue what a frame brought and wait for room: meanwhile the socket is not read."""
        s._push(batch)
        while s._queued > self.client.buffer and not s._finished and (s._queued > PATIENCE or not self.pending):
            s._room.clear()
            await s._room.wait()
