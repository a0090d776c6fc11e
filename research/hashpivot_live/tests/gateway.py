"""A gateway that speaks docs/live.md as a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from hashpivot_live import Client, Message, Subscription

JSON = dict[str, Any]


class Peer:
    """The gateway's end of one connection."""

    def __init__(self, ws: ServerConnection) -> None:
        self.ws = ws
        self.requests: asyncio.Queue[JSON] = asyncio.Queue()
        self.pings = 0
        self.deaf = False

    async def send(self, **frame: Any) -> None:
        try:
            await self.ws.send(json.dumps(frame))
        except ConnectionClosed:
            pass  # what the client closes, it closes

    async def ask(self, op: str) -> JSON:
        """Wait for a request of the operation."""
        q = await self.requests.get()
        assert q["op"] == op, q
        return q

    async def accept(self, q: JSON, start: str, epoch: str = "e1") -> str:
        name: str = q["channel"] + "/" + ",".join(q["symbols"])
        state = {"sub": name, "channel": q["channel"], "symbols": q["symbols"], "epoch": epoch, "start": start}
        await self.send(type="ack", id=q["id"], op=q["op"], sub=name, subscriptions=[{"sub": "quotes/other"}, state])
        return name

    async def refuse(self, q: JSON, code: str) -> None:
        await self.send(type="error", id=q["id"], code=code, message="because")

    async def data(self, sub: str, *seqs: int, **more: Any) -> None:
        await self.send(**{"type": "data", "sub": sub, "messages": [trade(s) for s in seqs], **more})

    async def close(self, code: int) -> None:
        await self.ws.close(code, "as told")


def trade(seq: int, second: int | None = None) -> JSON:
    s = seq if second is None else second
    at = f"2026-11-25T{15 + s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}.120394821Z"
    return {
        "type": "trade", "cursor": f"TRADES:{seq}:0", "stream_time": at, "event_time": at, "recv_time": at, "source": "sim-alpaca", "symbol": "CORZ",
        "action": "trade", "price_usd": "16.42", "size_shares": "100",
    }  # fmt: skip


class Gateway:
    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.welcome: JSON = {"type": "welcome", "version": "1", "mode": "sim", "gateway": "test", "heartbeat_s": 10, "authenticated": False, "limits": {}}
        self.token = ""
        self.url = ""

    async def serve(self, ws: ServerConnection) -> None:
        peer = Peer(ws)
        await peer.send(**self.welcome)
        self.peers.put_nowait(peer)
        try:
            async for data in ws:
                q = json.loads(data)
                if q["op"] == "ping":
                    peer.pings += 1
                    if not peer.deaf:
                        await peer.send(type="ack", op="ping", subscriptions=[])
                elif q["op"] == "authenticate":
                    if q["token"] == self.token:
                        await peer.send(type="ack", id=q["id"], op=q["op"])
                    else:
                        await peer.refuse(q, "unauthorised")
                else:
                    peer.requests.put_nowait(q)
        except ConnectionClosed:
            pass

    @asynccontextmanager
    async def client(self, **config: Any) -> AsyncIterator[tuple[Client, Peer]]:
        async with Client(self.url, first_wait=0.001, **config) as c:
            yield c, await self.peers.get()


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    """Run a test with a gateway; one that hangs fails."""

    async def body() -> None:
        g = Gateway()
        async with asyncio.timeout(15):
            async with serve(g.serve, "127.0.0.1", 0, subprotocols=[Subprotocol("hashpivot.v1.json")], ping_interval=None, close_timeout=1, compression=None) as server:
                port = next(iter(server.sockets)).getsockname()[1]
                g.url = f"http://127.0.0.1:{port}"
                await test(g)

    asyncio.run(body())


async def subscribed(c: Client, p: Peer, start: str = "TRADES:10", from_: str = "live") -> Subscription:
    s = c.subscribe("trades", ["CORZ"], from_=from_)
    await p.accept(await p.ask("subscribe"), start)
    await s.accepted()
    return s


async def take(s: Subscription, n: int) -> list[int]:
    """The sequences of the next n messages."""
    return [m.cursor.seq for m in await messages(s, n)]


async def messages(s: Subscription, n: int) -> list[Message]:
    out: list[Message] = []
    async for m in s:
        out.append(m)
        if len(out) == n:
            break
    return out
