"""The client: a connection that is made again whenever it is lost."""

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

from ._connection import Connection, expect
from ._errors import ClosedError, Error, LiveError, LostError, RefusedError
from ._messages import Cursor
from ._subscription import Gap, Replay, Skipped, Subscription

PROTOCOL = Subprotocol("hashpivot.v1.json")
VERSION = "1"
S = TypeVar("S", bound=Subscription)


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
        self._conn: Connection | None = None
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

    async def _run(self, conn: Connection) -> None:
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

    async def _connect(self) -> Connection:
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
        return Connection(self, ws)

    async def _shake_hands(self, ws: ClientConnection, token: str) -> None:
        if ws.subprotocol != PROTOCOL:
            raise RefusedError(f"the server does not speak {PROTOCOL}; is it a hashpivot gateway?")
        self.welcome = await expect(ws, "welcome")
        if self.welcome.get("version") != VERSION:
            raise RefusedError(f"the gateway speaks version {self.welcome.get('version')!r:.20} of the protocol, this client {VERSION!r}")
        if token and not self.welcome.get("authenticated"):
            # What stands between took the header away.
            await ws.send(json.dumps({"op": "authenticate", "id": "token", "token": token}))
            await expect(ws, "ack")

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
