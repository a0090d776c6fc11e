"""The client: one connection, made again whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from ._errors import ClosedError, Error, LiveError, LostError, ProtocolError, RefusedError
from ._messages import Cursor
from ._subscription import PATIENCE, Batch, Gap, Replay, Skipped, Subscription, parse_skipped

PROTOCOL = Subprotocol("hashpivot.v1.json")
VERSION = "1"

S = TypeVar("S", bound=Subscription)
Answer = Callable[[dict[str, Any] | None, Error | None], None]


@dataclass(frozen=True, slots=True)
class Reconnect:
    """An outage that is over."""

    cause: BaseException
    down_s: float
    tries: int
    gateway: str


def _text(t: str | datetime) -> str:
    if isinstance(t, str):
        return t
    if t.tzinfo is None:
        raise ValueError(f"{t} has no zone; give it one, such as UTC")
    return t.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Client:
    """A connection to a gateway. Use it as `async with Client(url) as client`.

    token is a text, or a function that is asked for one at each connection and so can give a new one when it has expired. All subscriptions share the
    connection: one that is not read holds up the others once buffer messages wait, and the gateway conflates what comes (on_skipped).

    on_skipped, on_gap, on_live and on_snapshot are called by the loop over a subscription, between the messages where they belong. Without on_gap a hole
    that cannot be closed ends the subscription with an error, so that nobody overlooks it. on_snapshot says that messages of a snapshot follow, and that what
    they do not tell has ended.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | Callable[[], Awaitable[str]] | None = None,
        buffer: int = 4096,
        open_timeout: float = 10,
        first_wait: float = 0.25,
        max_wait: float = 30,
        stable_after: float = 10,
        mute_after: float | None = None,
        max_frame_bytes: int = 16 << 20,
        on_reconnect: Callable[[Reconnect], None] | None = None,
        on_skipped: Callable[[Subscription, list[Skipped]], None] | None = None,
        on_gap: Callable[[Subscription, Gap], None] | None = None,
        on_live: Callable[[Subscription, Cursor], None] | None = None,
        on_snapshot: Callable[[Subscription], None] | None = None,
    ) -> None:
        parts = urlsplit(url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        if scheme not in ("ws", "wss") or not parts.netloc:
            raise ValueError("url must look like ws://127.0.0.1:8080/v1/ws")
        self._url = parts._replace(scheme=scheme, path=parts.path if parts.path not in ("", "/") else "/v1/ws").geturl()
        self._token = token
        self.buffer = buffer
        self.open_timeout = open_timeout
        self.first_wait = first_wait
        self.max_wait = max_wait
        self.stable_after = stable_after
        self.mute_after = mute_after
        self._max_frame_bytes = max_frame_bytes
        self.on_reconnect = on_reconnect
        self.on_skipped = on_skipped
        self.on_gap = on_gap
        self.on_live = on_live
        self.on_snapshot = on_snapshot
        self.welcome: Mapping[str, Any] = {}
        """What the gateway said first: among others its mode, live, sim or recorded."""
        self._subs: list[Subscription] = []
        self._conn: _Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended: BaseException | None = None

    async def __aenter__(self) -> Self:
        conn = await self._connect()
        self._task = asyncio.create_task(self._run(conn), name="hashpivot-live")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """End it; subscriptions end with ClosedError, behind what waits in them."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def subscribe(
        self,
        channel: str,
        symbols: Iterable[str],
        *,
        from_: str | datetime = "live",
        epoch: str = "",
        interval: str = "",
        source: str = "",
        max_rate: float = 0,
    ) -> Subscription:
        """Subscribe; docs/live.md describes the fields. What the gateway refuses is a LiveError of the loop over it."""
        r: dict[str, Any] = {"op": "subscribe", "channel": channel, "symbols": list(symbols), "from": _text(from_)}
        r |= {k: v for k, v in {"epoch": epoch, "interval": interval, "source": source, "max_rate": max_rate}.items() if v}
        return self._add(Subscription(self, r))

    def replay(
        self,
        subscriptions: Iterable[Mapping[str, Any]],
        start: str | datetime,
        end: str | datetime | None = None,
        *,
        speed: float = 0,
        clock: str = "event",
    ) -> Replay:
        """See a span of history again: subscriptions each with channel, symbols, and perhaps interval and source; speed 0: as fast as it is read."""
        r: dict[str, Any] = {"op": "replay", "subscriptions": [dict(s) for s in subscriptions], "start": _text(start), "speed": speed, "clock": clock}
        if end is not None:
            r["end"] = _text(end)
        return self._add(Replay(self, r))

    def _add(self, s: S) -> S:
        if self._ended is not None or self._task is None:
            s._finish(self._ended or ClosedError("the client is not open; use it as async with Client(...)"))
            return s
        self._subs.append(s)
        if self._conn is not None:
            self._conn.subscribe(s)
        return s

    def _drop(self, s: Subscription) -> None:
        if s in self._subs:
            self._subs.remove(s)
        name, s._name = s._name, ""
        if self._conn is not None and name:
            self._conn.farewell(s, name)

    def _end(self, error: BaseException) -> None:
        self._ended = error
        subs, self._subs = self._subs, []
        for s in subs:
            s._finish(error)

    async def _run(self, conn: _Connection) -> None:
        """Live through connections."""
        wait = self.first_wait
        try:
            while True:
                begun = time.monotonic()
                cause: BaseException = await conn.serve()
                lost = time.monotonic()
                # Who accepts and drops at once must not be able to reset the waits.
                if lost - begun >= self.stable_after:
                    wait = self.first_wait
                error, tries = cause, 0
                while True:
                    if isinstance(error, RefusedError):
                        self._end(error)
                        return
                    await asyncio.sleep(wait * random.uniform(0.5, 1.5))
                    wait = min(2 * wait, self.max_wait)
                    tries += 1
                    try:
                        conn = await self._connect()
                        break
                    except (Error, OSError) as e:
                        error = e
                if self.on_reconnect is not None:
                    self.on_reconnect(Reconnect(cause, time.monotonic() - lost, tries, str(self.welcome.get("gateway", ""))))
        except asyncio.CancelledError:
            self._end(ClosedError("the client is closed"))
            raise
        except BaseException as e:
            self._end(e)  # of a callback, or a bug: whoever iterates is told
            raise

    async def _connect(self) -> _Connection:
        """Dial, hear the welcome, authenticate."""
        token = await self._token() if callable(self._token) else self._token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with asyncio.timeout(self.open_timeout):
                # Our own pings and the heartbeats watch the connection; the library's would end one that is not read for a while.
                ws = await connect(
                    self._url,
                    subprotocols=[PROTOCOL],
                    additional_headers=headers,
                    open_timeout=None,
                    close_timeout=2,
                    ping_interval=None,
                    max_size=self._max_frame_bytes,
                    max_queue=16,
                )
                try:
                    await self._shake_hands(ws, token or "")
                except BaseException:
                    await ws.close()
                    raise
        except websockets.InvalidStatus as e:
            code = e.response.status_code
            text = f"the gateway answered HTTP {code}: {e.response.body.decode(errors='replace') if e.response.body else '':.200}"
            raise (RefusedError if 400 <= code < 500 and code not in (408, 425, 429) else LostError)(text) from None
        except websockets.ConnectionClosed as e:
            raise self._closed(e, None) from None
        except (websockets.InvalidHandshake, TimeoutError) as e:
            raise LostError(f"connect: {e or 'no welcome in time'}") from e
        return _Connection(self, ws)

    async def _shake_hands(self, ws: ClientConnection, token: str) -> None:
        if ws.subprotocol != PROTOCOL:
            raise RefusedError(f"the server does not speak {PROTOCOL}; is it a hashpivot gateway?")
        self.welcome = await _expect(ws, "welcome")
        if self.welcome.get("version") != VERSION:
            raise RefusedError(f"the gateway speaks version {self.welcome.get('version')!r:.20} of the protocol, this client {VERSION!r}")
        if token and not self.welcome.get("authenticated"):
            # What stands between took the header away.
            await ws.send(json.dumps({"op": "authenticate", "id": "token", "token": token}))
            await _expect(ws, "ack")

    def _closed(self, e: websockets.ConnectionClosed, told: str | None) -> Error:
        code = e.rcvd.code if e.rcvd is not None else 1006
        text = f"the connection was closed: {e}" + (f" ({told})" if told else "")
        if code == 4003 and not callable(self._token):
            return RefusedError(f"the token has expired; give a function as token to get new ones: {text}")
        # The third is our own refusal of what was sent.
        if 4100 <= code < 4200 or code in (1007, 1009) or e.sent is not None and not e.rcvd_then_sent and e.sent.code in (1007, 1009):
            return RefusedError(text)
        return LostError(text)

    async def _control(self, r: Replay, q: dict[str, Any], apply: Callable[[], None]) -> None:
        """Ask for a change, and apply it to the wanted state when the gateway has answered: what comes behind is by the new state. Where there is no
        connection it is applied at once, and the next one begins with it."""
        await r.accepted()
        if r._finished:
            raise Error(f"{q['action']}: the replay has ended")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        conn, name = self._conn, r._name
        if q["action"] == "seek" and r._goes_on:  # the gateway knows nothing of before the connection was made again
            q = {"action": "stop"}

        def answered(_: dict[str, Any] | None, error: Error | None) -> None:
            if isinstance(error, LiveError):
                if not done.done():
                    done.set_exception(error)
                return
            apply()
            r._changed = True
            if conn is not None and error is None and (q["action"] == "stop" or not name and q["action"] == "resume"):
                if name:
                    conn.names[name] = None  # what is still on its way is of before
                    r._name = ""
                conn.subscribe(r)
            if not done.done():
                done.set_result(None)

        if conn is None or not name:
            answered(None, None)
        else:
            conn.send({"op": "control", "sub": name, **q}, answered)
        await done


async def _expect(ws: ClientConnection, kind: str) -> dict[str, Any]:
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


class _Connection:
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
