"""The client against a gateway that misbehaves in every way that docs/live.md lets it, and in some that it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gateway import JSON, Gateway, Peer, messages, run, subscribed, take, trade

from hashpivot_live import Client, ClosedError, Gap, LiveError, LostError, Reconnect, RefusedError, Skipped, Subscription


def test_resumes_by_last_message() -> None:
    async def body(g: Gateway) -> None:
        again: list[Reconnect] = []
        async with g.client(on_reconnect=again.append) as (c, p):
            s = await subscribed(c, p)
            await p.data("trades/CORZ", 11, 12, 12, 11, 13)
            assert await take(s, 3) == [11, 12, 13]
            await p.send(type="shutdown", resume="token")
            await p.close(4000)
            p = await g.peers.get()
            q = await p.ask("subscribe")
            assert (q["from"], q["epoch"]) == ("TRADES:13:0", "e1")
            await p.accept(q, "TRADES:13:0")
            await p.data("trades/CORZ", 12, 13, 14)
            assert await take(s, 1) == [14]
            assert s.dropped == 4
            assert s.position == ("TRADES:14:0", "e1")
            assert len(again) == 1 and "4000" in str(again[0].cause)

    run(body)


def test_resumes_by_heartbeat() -> None:
    async def body(g: Gateway) -> None:
        live = asyncio.Event()
        async with g.client(on_live=lambda *_: live.set()) as (c, p):
            s = await subscribed(c, p)
            await p.data("trades/CORZ", 11, 12)
            await p.send(type="heartbeat", positions={"trades/CORZ": "TRADES:40", "quotes/other": "QUOTES:1"})
            await p.send(type="live", sub="trades/CORZ", position="TRADES:40")
            assert await take(s, 1) == [11]
            assert s.position[0] == "TRADES:11:0"  # what was handed out, not what has come
            assert await take(s, 1) == [12]
            await p.close(4001)
            p = await g.peers.get()
            q = await p.ask("subscribe")
            assert q["from"] == "TRADES:40"
            await p.accept(q, "TRADES:40")
            await p.data("trades/CORZ", 41)
            assert await take(s, 1) == [41]
            assert live.is_set()

    run(body)


@pytest.mark.parametrize("code", ["purged", "other_epoch", "bad_cursor"])
def test_gap(code: str) -> None:
    async def body(g: Gateway) -> None:
        gaps: list[Gap] = []
        async with g.client(on_gap=lambda _, gap: gaps.append(gap)) as (c, p):
            s = await subscribed(c, p)
            await p.data("trades/CORZ", 11, 12)
            await p.close(4001)
            p = await g.peers.get()
            await p.refuse(await p.ask("subscribe"), code)
            q = await p.ask("subscribe")
            assert q["from"] == "live" and "epoch" not in q
            await p.accept(q, "TRADES:5", "e2")
            await p.data("trades/CORZ", 6)
            assert await take(s, 2) == [11, 12]
            assert not gaps
            assert await take(s, 1) == [6]
            assert [(str(x.since), str(x.until), x.cause.code) for x in gaps] == [("TRADES:12:0", "TRADES:5", code)]

    run(body)


@pytest.mark.parametrize("code", ["purged", "other_epoch", "bad_cursor"])
def test_gap_untold_ends_the_subscription(code: str) -> None:
    async def body(g: Gateway) -> None:
        async with g.client() as (c, p):
            s = await subscribed(c, p)
            await p.close(4001)
            p = await g.peers.get()
            await p.refuse(await p.ask("subscribe"), code)
            with pytest.raises(LiveError, match=code):
                await take(s, 1)

    run(body)


def test_epoch_that_changed_silently() -> None:
    async def body(g: Gateway) -> None:
        async with g.client() as (c, p):
            s = await subscribed(c, p)
            await p.close(4001)
            p = await g.peers.get()
            name = await p.accept(await p.ask("subscribe"), "TRADES:10", "e2")
            await p.data(name, 11)
            with pytest.raises(LiveError, match="other_epoch"):
                await take(s, 1)
            assert (await p.ask("unsubscribe"))["sub"] == name

    run(body)


def test_unavailable_is_asked_again() -> None:
    async def body(g: Gateway) -> None:
        async with g.client() as (c, p):
            s = await subscribed(c, p)
            await p.data("trades/CORZ", 11)
            await p.send(type="error", sub="trades/CORZ", code="unavailable", message="")
            await p.data("trades/CORZ", 12)  # was on its way, and comes again
            for _ in range(3):
                q = await p.ask("subscribe")
                assert q["from"] == "TRADES:11:0"
                await p.refuse(q, "unavailable")
            await p.accept(await p.ask("subscribe"), "TRADES:11:0")
            await p.data("trades/CORZ", 12, 13)
            assert await take(s, 3) == [11, 12, 13]

    run(body)


def test_refused() -> None:
    async def body(g: Gateway) -> None:
        async with g.client() as (c, p):
            s = c.subscribe("trades", ["CORZ"], from_="TRADES:7:2", epoch="e0", max_rate=2, source="sim-*")
            q = await p.ask("subscribe")
            assert {k: q[k] for k in ("from", "epoch", "max_rate", "source")} == {"from": "TRADES:7:2", "epoch": "e0", "max_rate": 2, "source": "sim-*"}
            await p.refuse(q, "purged")
            with pytest.raises(LiveError, match="purged"):
                await s.accepted()
            with pytest.raises(LiveError, match="purged"):
                await take(s, 1)

    run(body)


def test_mute_gateway() -> None:
    async def body(g: Gateway) -> None:
        g.welcome["heartbeat_s"] = 0.02
        async with g.client(mute_after=0.1) as (c, p):
            s = await subscribed(c, p)
            p.deaf = True
            again = await g.peers.get()
            assert p.pings
            await again.accept(await again.ask("subscribe"), "TRADES:10")
            await again.data("trades/CORZ", 11)
            assert await take(s, 1) == [11]

    run(body)


@pytest.mark.parametrize("code", [4100, 4101, 4102, 1007, 1009])
def test_fatal_close(code: int) -> None:
    async def body(g: Gateway) -> None:
        async with g.client() as (c, p):
            s = await subscribed(c, p)
            await p.data("trades/CORZ", 11)
            await p.send(type="error", code="forbidden", message="not you")
            await p.close(code)
            assert await take(s, 1) == [11]
            with pytest.raises(RefusedError, match="not you"):
                await take(s, 1)
            with pytest.raises(RefusedError):
                await take(c.subscribe("trades", ["CORZ"]), 1)

    run(body)


def test_expired_token_is_renewed() -> None:
    async def body(g: Gateway) -> None:
        tokens = iter(["first", "second", "first"])

        async def token() -> str:
            return next(tokens)

        g.token = "first"
        async with g.client(token=token) as (c, p):
            s = c.subscribe("trades", ["CORZ"])
            await p.accept(await p.ask("subscribe"), "TRADES:10")
            assert p.ws.request is not None and p.ws.request.headers["Authorization"] == "Bearer first"
            g.token = "second"
            await p.close(4003)
            p = await g.peers.get()
            await p.accept(await p.ask("subscribe"), "TRADES:10")
            await p.close(4003)
            with pytest.raises(RefusedError, match="unauthorised") as e:  # one that is refused is not tried again
                await take(s, 1)
            assert "first" not in str(e.value)

    run(body)


def test_expired_token_without_next() -> None:
    async def body(g: Gateway) -> None:
        g.token = "first"
        async with g.client(token="first") as (c, p):
            s = await subscribed(c, p)
            await p.close(4003)
            with pytest.raises(RefusedError, match="expired"):
                await take(s, 1)

    run(body)


def test_snapshot() -> None:
    async def body(g: Gateway) -> None:
        begun: list[Subscription] = []
        async with g.client(on_snapshot=begun.append) as (c, p):
            s = await subscribed(c, p, "TRADES:20", "snapshot")

            async def snapshot(position: str, *seqs: int) -> None:
                await p.data("trades/CORZ", *seqs, type="snapshot", position=position)

            await p.send(type="heartbeat", positions={"trades/CORZ": "TRADES:20"})
            await snapshot("TRADES:20", 7, 3)
            await snapshot("TRADES:20", 19, 5)
            await p.data("trades/CORZ", 19, 20, 21)
            assert [(m.cursor.seq, m.snapshot) for m in await messages(s, 5)] == [(7, True), (3, True), (19, True), (5, True), (21, False)]
            assert len(begun) == 1
            # One that nobody asked for tells all that there is; it may be nothing.
            await snapshot("TRADES:30", 20, 24)
            await p.data("trades/CORZ", 30, 31)
            await snapshot("TRADES:40")
            await p.data("trades/CORZ", 39, 41)
            assert await take(s, 4) == [20, 24, 31, 41]
            assert len(begun) == 3
            await p.close(4001)
            assert (await (await g.peers.get()).ask("subscribe"))["from"] == "TRADES:41:0"

    run(body)


def test_skipped() -> None:
    async def body(g: Gateway) -> None:
        told: list[str] = []

        def on_skipped(_: Subscription, all_: list[Skipped]) -> None:
            told.extend(f"{s.count} of {s.symbol or 'all'}: {s.first} to {s.last}" for s in all_)

        async with g.client(on_skipped=on_skipped) as (c, p):
            s = await subscribed(c, p)
            await p.data("trades/CORZ", 11)
            await p.data("trades/CORZ", 16, skipped=[{"symbol": "CORZ", "count": 2, "from": "TRADES:13:0", "to": "TRADES:15:0"}])
            await p.send(type="slow", sub="trades/CORZ", pending_bytes=9)
            await p.send(type="skipped", sub="trades/CORZ", skipped=[{"count": 9, "from": "TRADES:17:0", "to": "TRADES:29:0"}])
            await p.data("trades/CORZ", 28)  # the last value of a symbol that was skipped
            assert await take(s, 1) == [11] and not told
            assert await take(s, 1) == [16] and told == ["2 of CORZ: TRADES:13:0 to TRADES:15:0"]
            assert await take(s, 1) == [28] and told[1:] == ["9 of all: TRADES:17:0 to TRADES:29:0"]

    run(body)


def test_back_pressure() -> None:
    """Who does not read holds up the socket, not the memory; a request by who ought to read is answered all the same."""

    async def body(g: Gateway) -> None:
        async with g.client(buffer=10) as (c, p):
            s = await subscribed(c, p, "TRADES:0")
            p.deaf = True
            written: list[int] = []
            writing = asyncio.create_task(write(p, written))
            before = -1
            while len(written) != before:  # until nothing moves any more
                before = len(written)
                await asyncio.sleep(0.3)
            assert 0 < before < FRAMES and s._queued <= 30
            other = c.subscribe("quotes", ["CORZ"])
            q = await p.ask("subscribe")
            await p.accept(q, "QUOTES:1")
            await other.accepted()
            assert await take(s, 20 * FRAMES) == list(range(1, 20 * FRAMES + 1))
            await writing

    FRAMES = 600  # of 100 kB: more than two sockets and the library hold

    async def write(p: Peer, written: list[int]) -> None:
        for begin in range(1, 20 * FRAMES, 20):
            await p.data("trades/CORZ", *range(begin, begin + 20), pad="x" * 100_000)
            written.append(begin)

    run(body)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "data", "sub": "trades/IREN", "messages": []},
        {"type": "data", "sub": ["trades/CORZ"], "messages": []},
        {"type": "data", "sub": "trades/CORZ", "messages": {}},
        {"type": "data", "sub": "trades/CORZ", "messages": [{"type": "block", "cursor": "NETWORK:1:0"}]},
        {"type": "data", "sub": "trades/CORZ", "messages": [{**trade(11), "price_usd": 16.42}]},
        {"type": "snapshot", "sub": "trades/CORZ", "messages": [], "position": "QUOTES:3"},
        {"type": "heartbeat", "positions": {"trades/CORZ": "TRADES:-1"}},
        {"type": "heartbeat", "positions": {"trades/CORZ": "QUOTES:1"}},
        {"type": "skipped", "sub": "trades/CORZ", "skipped": [{"count": 1}]},
        {"type": "skipped", "sub": "trades/CORZ", "skipped": None},
        {"type": "live", "sub": "trades/CORZ"},
        {"type": 7},
        {},
    ],
)
def test_nonsense(frame: JSON) -> None:
    """Whoever breaks the protocol is left, and nothing is lost."""

    async def body(g: Gateway) -> None:
        async with g.client() as (c, p):
            s = await subscribed(c, p)
            for _ in range(3):
                await p.send(type="of a later version")
                await p.send(**frame)
                p = await g.peers.get()
                await p.accept(await p.ask("subscribe"), "TRADES:10")
            await p.data("trades/CORZ", 11)
            assert await take(s, 1) == [11]

    run(body)


def test_dial_refused() -> None:
    async def body(g: Gateway) -> None:
        async def dial(**config: Any) -> None:
            async with Client(g.url, **config):
                pass

        with pytest.raises(RefusedError, match="unauthorised"):
            await dial(token="bad")
        g.welcome["version"] = "2"
        with pytest.raises(RefusedError, match="version"):
            await dial()
        g.welcome["type"] = "hello"
        with pytest.raises(Exception, match="hello"):
            await dial()
        with pytest.raises(ValueError, match="ws://"):
            Client("127.0.0.1:8080")
        with pytest.raises((LostError, OSError)):
            async with Client("ws://127.0.0.1:1"):
                pass

    run(body)


def test_close() -> None:
    async def body(g: Gateway) -> None:
        async with g.client() as (c, p):
            s = await subscribed(c, p)
            other = c.subscribe("feeds", ["*"])
            await p.accept(await p.ask("subscribe"), "FEEDS:1")
            await p.data("trades/CORZ", 11)
            s.close()
            assert (await p.ask("unsubscribe"))["sub"] == "trades/CORZ"
            await p.data("trades/CORZ", 12)
            assert await take(s, 1) == []
        with pytest.raises(ClosedError):
            await take(other, 1)

    run(body)


DAY: JSON = {"subscriptions": [{"channel": "trades", "symbols": ["CORZ"]}], "start": "2026-11-25T15:00:00Z", "end": "2026-11-25T16:00:00Z"}


async def accept_replay(p: Peer, name: str = "replay/1") -> JSON:
    q = await p.ask("replay")
    await p.send(type="ack", id=q["id"], op=q["op"], sub=name, subscriptions=[])
    return q


async def order(p: Peer) -> JSON:
    q = await p.ask("control")
    await p.send(type="ack", id=q["id"], op=q["op"], sub=q["sub"], subscriptions=[])
    return q


def test_replay_goes_on() -> None:
    """At the very message, though several share its time and sequences need not rise."""

    async def body(g: Gateway) -> None:
        async with g.client() as (c, p):
            r = c.replay(**DAY, speed=10)
            assert (await accept_replay(p))["speed"] == 10
            await p.send(type="data", sub="replay/1", messages=[trade(9, 5), trade(3, 6), trade(8, 6)])
            assert await take(r, 3) == [9, 3, 8]
            await p.close(4001)
            p = await g.peers.get()
            assert (await accept_replay(p))["start"] == "2026-11-25T15:00:06.120394821Z"
            await p.send(type="data", sub="replay/1", messages=[trade(3, 6), trade(8, 6), trade(10, 6), trade(1, 7)])
            await p.send(type="replay", sub="replay/1", state="ended")
            assert await take(r, 9) == [10, 1]  # it just ends

    run(body)


def test_replay_controls() -> None:
    async def body(g: Gateway) -> None:
        async with g.client(buffer=2) as (c, p):
            r = c.replay(**DAY)
            await accept_replay(p)
            await p.data("replay/1", *range(1, 50))
            _, q = await asyncio.gather(r.seek("2026-11-25T15:30:00Z"), order(p))
            assert (q["action"], q["start"]) == ("seek", "2026-11-25T15:30:00Z")
            await p.data("replay/1", 1800)
            assert await take(r, 1) == [1800]  # what waited was of before
            assert (await asyncio.gather(r.pause(), order(p)))[1]["action"] == "pause"
            assert (await asyncio.gather(r.set_speed(2), order(p)))[1]["speed"] == 2
            # One that is paused begins again when it is resumed, as it was left.
            await p.close(4001)
            p = await g.peers.get()
            await r.resume()
            q = await accept_replay(p)
            assert (q["start"], q["speed"]) == ("2026-11-25T15:30:00.120394821Z", 2)
            await p.data("replay/1", 1800, 1801)
            assert await take(r, 1) == [1801]
            # The gateway knows nothing of before that now: a seek is another replay.
            seek = asyncio.create_task(r.seek("2026-11-25T15:10:00Z"))
            assert (await order(p))["action"] == "stop"
            await p.data("replay/1", 1802)  # was on its way
            assert (await accept_replay(p, "replay/2"))["start"] == "2026-11-25T15:10:00Z"
            await seek
            await p.data("replay/2", 600)
            assert await take(r, 1) == [600]
            # A refusal changes nothing.
            seek = asyncio.create_task(r.seek("2027-11-25T15:10:00Z"))
            await p.data("replay/2", 601)
            await p.refuse(await p.ask("control"), "bad_request")
            with pytest.raises(LiveError, match="bad_request"):
                await seek
            assert await take(r, 1) == [601]

    run(body)
