import { afterEach, beforeEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { Client, type ClientOptions, type Gap, type Signal, type State, type WebSocketLike } from "../src/index.js";
import { Gateway } from "./gateway.js";

const Socket = WebSocket as unknown as new (url: string, protocols?: string | string[]) => WebSocketLike;
let gateway: Gateway;
let client: Client;
let states: State[];
let wakers: (() => void)[];

beforeEach(async () => {
  gateway = await Gateway.start();
  states = [];
  wakers = [];
});
afterEach(async () => {
  client.close();
  await gateway.stop();
});

function wake(): void {
  for (const w of wakers.splice(0)) w();
}

async function until(ok: () => boolean): Promise<void> {
  while (!ok()) await new Promise<void>((resolve) => wakers.push(resolve));
}

function connect(o: ClientOptions = {}): void {
  client = new Client(gateway.url, {
    WebSocket: Socket, baseDelayMs: 1, maxDelayMs: 5, ...o,
    onState: (s) => {
      states.push(s);
      wake();
    },
  });
}

/** Subscribes to all signals and keeps what comes. */
function collect(from?: string) {
  const got = { seqs: [] as number[], snapshots: [] as number[], gaps: [] as Gap[] };
  const sub = client.subscribe(
    { channel: "signals", symbols: ["*"], from },
    {
      onMessages: (messages: Signal[], snapshot) => {
        (snapshot ? got.snapshots : got.seqs).push(...messages.map((m) => Number(m.value)));
        wake();
      },
      onGap: (g) => {
        got.gaps.push(g);
        wake();
      },
      onLive: wake,
    },
  );
  return { got, sub };
}

const upTo = (n: number, first = 1) => Array.from({ length: n - first + 1 }, (_, i) => first + i);

test("a snapshot, then what follows it", async () => {
  gateway.publish(5);
  connect();
  const { got, sub } = collect("snapshot");
  await until(() => got.snapshots.length === 1);
  expect(sub.position).toBe("SIGNALS:5");
  gateway.publish(3);
  await until(() => got.seqs.length === 3);
  expect(got).toEqual({ snapshots: [5], seqs: [6, 7, 8], gaps: [] });
  expect(sub.position).toBe("SIGNALS:8:0");
});

test("broken lines, again and again, and a gateway that sends too much: each message once, in order", async () => {
  gateway.overlap = 7;
  connect();
  const { got, sub } = collect("live");
  await gateway.until(() => gateway.ops("subscribe").length === 1);
  let published = 0;
  for (let round = 0; round < 20; round++) {
    const n = (round * 7) % 5;
    gateway.publish(n);
    if (round % 3 === 0) gateway.heartbeat();
    published += n;
    if (round % 2 === 0) await until(() => got.seqs.length === published);
    const requests = gateway.requests.length;
    gateway.kill();
    gateway.publish(3); // nobody is connected
    published += 3;
    await gateway.until(() => gateway.requests.slice(requests).some((r) => r["op"] === "resume" || r["op"] === "subscribe"));
  }
  await until(() => got.seqs.length >= published);
  expect(got.seqs).toEqual(upTo(published));
  expect(sub.dropped).toBeGreaterThan(0);
  expect(gateway.ops("resume").length).toBeGreaterThan(0);
  expect(got.gaps).toEqual([]);
});

test("a resume token of another cluster: the cursors still say where to go on", async () => {
  connect();
  const { got } = collect();
  await gateway.until(() => gateway.ops("subscribe").length === 1);
  gateway.publish(2);
  gateway.heartbeat();
  await until(() => got.seqs.length === 2);
  await client.ping(); // behind the heartbeat
  gateway.intercept = (r, answer) => r["op"] === "resume" && (answer({ type: "error", code: "unauthorised", message: "no such token" }), true);
  gateway.kill();
  gateway.publish(2);
  await until(() => got.seqs.length === 4);
  expect(got.seqs).toEqual([1, 2, 3, 4]);
  expect(gateway.ops("subscribe")[1]).toMatchObject({ from: "SIGNALS:2", epoch: "1" });
});

test("a stream that was made anew is a hole that is told", async () => {
  connect();
  const { got } = collect();
  await gateway.until(() => gateway.ops("subscribe").length === 1);
  gateway.publish(2);
  await until(() => got.seqs.length === 2);
  gateway.kill();
  gateway.log.length = 0;
  gateway.publish(1);
  gateway.epoch = "2";
  await until(() => got.snapshots.length === 1);
  expect(got.gaps).toEqual([{ reason: "hole", skipped: [], from: "SIGNALS:2:0", code: "other_epoch" }]);
  gateway.publish(1);
  await until(() => got.seqs.length === 3);
  expect(got.seqs).toEqual([1, 2, 2]); // the second message of the new stream
});

test("a silent gateway is left for another connection", async () => {
  gateway.heartbeatS = 1;
  connect({ answerTimeoutMs: 60_000 });
  collect();
  // No answer to anything any more: the line is dead, though open.
  gateway.intercept = (r) => r["op"] === "ping";
  await gateway.until(() => gateway.urls.length === 2);
  expect(states.find((s) => s.phase === "waiting")).toMatchObject({ reason: "the gateway was silent" });
});

test("what a slow client missed is told", async () => {
  connect();
  const { got } = collect();
  await gateway.until(() => gateway.ops("subscribe").length === 1);
  const skipped = [{ symbol: "pivot-premium/h100-sxm", count: 4, from: "SIGNALS:1:0", to: "SIGNALS:4:0" }];
  gateway.broadcast({ type: "slow", sub: "signals/*", pending_bytes: 1 });
  gateway.broadcast({ type: "skipped", sub: "signals/*", skipped });
  await until(() => got.gaps.length === 1);
  expect(got.gaps).toEqual([{ reason: "slow", skipped }]);
});

test("a conflated subscription resumes from heartbeats only: a message of one symbol says nothing about another's", async () => {
  connect();
  const sub = client.subscribe({ channel: "signals", symbols: ["*"], maxRate: 5 }, { onMessages: wake });
  gateway.intercept = (r, answer) => {
    if (r["op"] !== "subscribe") return false;
    answer({ type: "ack", op: "subscribe", sub: "signals/*@5", subscriptions: [{ sub: "signals/*@5", channel: "signals", symbols: ["*"], max_rate: 5, epoch: "1" }] });
    return true;
  };
  await until(() => sub.sub !== undefined || states.length > 1);
  await client.ping();
  const m = (seq: number, symbol: string) => ({ type: "signal", cursor: `SIGNALS:${seq}:0`, event_time: "2026-11-25T00:00:00Z", source: "s", name: "n", symbol });
  gateway.broadcast({ type: "data", sub: "signals/*@5", messages: [m(12, "b"), m(10, "a")] });
  await until(() => sub.received === 2);
  expect(sub.position).toBeUndefined();
  gateway.broadcast({ type: "heartbeat", time: "2026-11-25T00:00:00Z", positions: { "signals/*@5": "SIGNALS:12" } });
  await client.ping();
  expect(sub.position).toBe("SIGNALS:12");
});

test.each([
  [4000, true], [4001, true], [4002, true], [1001, true], [4100, false], [4101, false], [4003, false], [1009, false],
])("close code %i: connects again: %s", async (code, again) => {
  connect();
  await until(() => client.state.phase === "open");
  gateway.closeAll(code);
  if (again) await gateway.until(() => gateway.urls.length === 2);
  else await until(() => client.state.phase === "closed");
  expect(states.find((s) => s.code === code)).toBeDefined();
});

test("an expired token is replaced; a ticket is for one connection", async () => {
  let n = 0;
  connect({ token: () => `token-${++n}`, ticket: async () => `ticket-${n}` });
  collect();
  await gateway.until(() => gateway.ops("subscribe").length === 1);
  gateway.closeAll(4003);
  await gateway.until(() => gateway.ops("authenticate").length === 2);
  expect(gateway.ops("authenticate").map((r) => r["token"])).toEqual(["token-1", "token-2"]);
  expect(gateway.urls).toEqual(["/v1/ws?ticket=ticket-0", "/v1/ws?ticket=ticket-1"]);
  expect(gateway.requests[0]).toMatchObject({ op: "authenticate" });
});

test("what the gateway refuses for good is over; the rest goes on", async () => {
  connect();
  gateway.intercept = (r, answer) => r["channel"] === "trades" && (answer({ type: "error", code: "forbidden", message: "not yours" }), true);
  let code = "";
  client.subscribe({ channel: "trades", symbols: ["CORZ"] }, { onError: (e) => ((code = e.code), wake()) });
  const { got } = collect();
  await until(() => code !== "");
  await gateway.until(() => gateway.ops("subscribe").length === 2);
  gateway.publish(1);
  await until(() => got.seqs.length === 1);
  expect(code).toBe("forbidden");
});

test("history that cannot be read now is asked for again", async () => {
  gateway.publish(3);
  let refusals = 2;
  gateway.intercept = (r, answer) => r["op"] === "subscribe" && refusals-- > 0 && (answer({ type: "error", code: "unavailable", message: "later" }), true);
  connect();
  const { got } = collect("SIGNALS:1");
  await until(() => got.seqs.length === 2);
  expect(got.seqs).toEqual([2, 3]);
});

test("a subscription that the gateway ends is asked for again from where it was", async () => {
  connect();
  const { got } = collect();
  await gateway.until(() => gateway.ops("subscribe").length === 1);
  gateway.publish(2);
  gateway.broadcast({ type: "error", sub: "signals/*", code: "unavailable", message: "history cannot be read now" });
  await gateway.until(() => gateway.ops("subscribe").length === 2);
  gateway.publish(1);
  await until(() => got.seqs.length === 3);
  expect(gateway.ops("subscribe")[1]).toMatchObject({ from: "SIGNALS:2:0" });
  expect(got.seqs).toEqual([1, 2, 3]);
});

test("a replay goes on after a broken line, and what has the last time is not sent twice", async () => {
  connect();
  const got: string[] = [];
  const replay = client.replay(
    { subscriptions: [{ channel: "signals", symbols: ["*"] }], start: "2026-11-24T14:30:00Z", speed: 10 },
    { onMessages: (ms) => (got.push(...ms.map((m) => m.cursor)), wake()), onState: wake },
  );
  const m = (seq: number, s: number) => ({ type: "signal", cursor: `SIGNALS:${seq}:0`, event_time: `2026-11-24T14:30:0${s}Z`, source: "s", name: "n", symbol: "x" });
  await gateway.until(() => gateway.ops("replay").length === 1);
  gateway.broadcast({ type: "data", sub: "replay/1", messages: [m(2, 1), m(1, 2), m(3, 2)] });
  await until(() => got.length === 3);
  gateway.kill();
  await gateway.until(() => gateway.ops("replay").length === 2);
  expect(gateway.ops("replay")[1]).toMatchObject({ start: "2026-11-24T14:30:02Z", speed: 10 });
  gateway.broadcast({ type: "data", sub: "replay/1", messages: [m(1, 2), m(3, 2), m(5, 2), m(4, 3)] });
  await until(() => got.length === 5);
  expect(got).toEqual(["SIGNALS:2:0", "SIGNALS:1:0", "SIGNALS:3:0", "SIGNALS:5:0", "SIGNALS:4:0"]);
  replay.pause();
  replay.seek("2026-11-24T14:00:00Z");
  await gateway.until(() => gateway.ops("control").length === 2);
  expect(gateway.ops("control")).toMatchObject([{ sub: "replay/1", action: "pause" }, { action: "seek", start: "2026-11-24T14:00:00Z" }]);
  gateway.broadcast({ type: "replay", sub: "replay/1", state: "ended", time: "2026-11-24T14:30:03Z", speed: 10 });
  await until(() => replay.state === "ended");
});

test("the same content twice is refused, and unsubscribing makes room", async () => {
  connect();
  const { sub } = collect();
  expect(() => client.subscribe({ channel: "signals", symbols: ["*", "a"] })).toThrow("same content");
  await gateway.until(() => gateway.ops("subscribe").length === 1);
  await client.ping();
  sub.unsubscribe();
  await gateway.until(() => gateway.ops("unsubscribe").length === 1);
  expect(() => client.subscribe({ channel: "signals", symbols: ["*"] })).not.toThrow();
});
