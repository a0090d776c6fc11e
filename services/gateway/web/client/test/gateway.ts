import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import type { Frame, Signal, SubscriptionState } from "../src/index.js";

type Request = Record<string, any>;

/** A gateway that speaks docs/live.md over one stream of signals, for tests: small, in this process, and breakable to order. */
export class Gateway {
  readonly log: Signal[] = [];
  readonly requests: Request[] = [];
  readonly urls: string[] = [];
  epoch = "1";
  heartbeatS = 15;
  /** Answers a request instead of the gateway; undefined lets it answer. */
  intercept: ((r: Request, answer: (f: object) => void) => boolean) | undefined;
  /** Sends so many messages again that a resuming client has: a client must drop them. */
  overlap = 0;
  private readonly server: WebSocketServer;
  private readonly conns = new Map<WebSocket, Map<string, SubscriptionState>>();
  private readonly waiting = new Set<() => void>();

  private constructor(server: WebSocketServer) {
    this.server = server;
    server.on("connection", (ws, req) => {
      this.urls.push(req.url ?? "");
      this.conns.set(ws, new Map());
      ws.on("close", () => this.conns.delete(ws));
      ws.on("message", (data) => this.answer(ws, JSON.parse(String(data)) as Request));
      this.send(ws, { type: "welcome", version: "1", mode: "sim", gateway: "test", time: new Date().toISOString(), heartbeat_s: this.heartbeatS });
      this.wake();
    });
  }

  static async start(): Promise<Gateway> {
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0, handleProtocols: () => "hashpivot.v1.json" });
    await once(server, "listening");
    return new Gateway(server);
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1/ws`;
  }

  async stop(): Promise<void> {
    this.kill();
    await new Promise((done) => this.server.close(done));
  }

  /** Waits until something of this gateway has become true. */
  async until(ok: () => boolean): Promise<void> {
    while (!ok()) await new Promise<void>((resolve) => this.waiting.add(resolve));
  }

  ops(op: string): Request[] {
    return this.requests.filter((r) => r["op"] === op);
  }

  /** Publishes n messages of a symbol to the stream. */
  publish(n: number, symbol = "h100-sxm"): void {
    for (let i = 0; i < n; i++) {
      const seq = this.log.length + 1;
      const m: Signal = {
        type: "signal", cursor: `SIGNALS:${seq}:0`, event_time: new Date(1_800_000_000_000 + seq * 1000).toISOString(), source: "sim-signals",
        name: "pivot-premium", symbol, value: String(seq), unit: "ratio",
      };
      this.log.push(m);
      for (const [ws, subs] of this.conns) for (const sub of subs.keys()) this.send(ws, { type: "data", sub, messages: [m] });
    }
  }

  broadcast(f: object): void {
    for (const ws of this.conns.keys()) this.send(ws, f);
  }

  heartbeat(): void {
    for (const [ws, subs] of this.conns) {
      const positions = Object.fromEntries([...subs.keys()].map((s) => [s, `SIGNALS:${this.log.length}`]));
      this.send(ws, { type: "heartbeat", time: new Date().toISOString(), positions, resume: JSON.stringify([...subs.values()]) });
    }
  }

  /** Cuts every connection as a broken line does. */
  kill(): void {
    for (const ws of this.conns.keys()) ws.terminate();
    this.conns.clear();
  }

  closeAll(code: number): void {
    for (const ws of this.conns.keys()) ws.close(code, "test");
  }

  get connections(): number {
    return this.conns.size;
  }

  private send(ws: WebSocket, f: object): void {
    ws.send(JSON.stringify(f));
  }

  private wake(): void {
    const all = [...this.waiting];
    this.waiting.clear();
    for (const w of all) w();
  }

  private answer(ws: WebSocket, r: Request): void {
    this.requests.push(r);
    const subs = this.conns.get(ws);
    if (!subs) return;
    if (this.intercept?.(r, (f) => this.send(ws, { id: r["id"], ...f })) !== true) this.obey(ws, subs, r);
    this.wake();
  }

  private obey(ws: WebSocket, subs: Map<string, SubscriptionState>, r: Request): void {
    const ack = (sub?: string) => this.send(ws, { type: "ack", id: r["id"], op: r["op"], sub, subscriptions: [...subs.values()] });
    switch (r["op"]) {
      case "subscribe": {
        const sub = `${r["channel"]}/${[...r["symbols"]].sort().join(",")}`;
        const from = String(r["from"] ?? "live");
        if (r["epoch"] !== undefined && r["epoch"] !== this.epoch) {
          this.send(ws, { type: "error", id: r["id"], code: "other_epoch", message: "the stream was made anew" });
          return;
        }
        const at = from.startsWith("SIGNALS:") ? Number(from.split(":")[1]) : this.log.length;
        subs.set(sub, { sub, channel: r["channel"], symbols: r["symbols"], epoch: this.epoch, start: `SIGNALS:${at}` });
        ack(sub);
        if (from === "snapshot") {
          this.send(ws, { type: "snapshot", sub, messages: this.log.slice(-1), position: `SIGNALS:${this.log.length}` });
        } else if (at < this.log.length) {
          this.catchUp(ws, sub, at);
        }
        return;
      }
      case "resume": {
        for (const s of JSON.parse(r["resume"]) as SubscriptionState[]) subs.set(s.sub, s);
        ack();
        for (const [sub, cursor] of Object.entries(r["positions"] as Record<string, string>)) this.catchUp(ws, sub, Number(cursor.split(":")[1]));
        return;
      }
      case "unsubscribe":
        subs.delete(r["sub"]);
        ack(r["sub"]);
        return;
      case "replay":
        ack("replay/1");
        return;
      default:
        ack(r["sub"]);
    }
  }

  private catchUp(ws: WebSocket, sub: string, at: number): void {
    this.send(ws, { type: "data", sub, messages: this.log.slice(Math.max(0, at - this.overlap)) });
    this.send(ws, { type: "live", sub, position: `SIGNALS:${this.log.length}` } satisfies Frame);
  }
}
