import { verdict } from "./backoff.js";
import { type Frame, GatewayError, type SubscriptionState, type Welcome, contentOf, wireSpec } from "./frames.js";
import type { Channel, ChannelMessages } from "./messages.js";
import { type Replay, type ReplayHandlers, type ReplayOptions, Run } from "./replay.js";
import { type Handlers, Sub, type SubscribeOptions, type Subscription } from "./subscription.js";

/** What a client needs of a WebSocket: a browser's, or package ws. */
export interface WebSocketLike {
  readonly readyState: number;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  onopen: ((ev: any) => any) | null;
  onmessage: ((ev: any) => any) | null;
  onerror: ((ev: any) => any) | null;
  onclose: ((ev: any) => any) | null;
}

export interface State {
  /** closed: it will not connect again by itself; code and reason say why. */
  phase: "connecting" | "open" | "waiting" | "closed";
  /** Of the last close. */
  code?: number;
  reason?: string;
  /** When waiting: until the next attempt. */
  delayMs?: number;
  welcome?: Welcome;
}

export interface ClientOptions {
  /** In Node: the class of package ws. In a browser: leave it out. */
  WebSocket?: new (url: string, protocols?: string | string[]) => WebSocketLike;
  /** A token, or where to get a fresh one before each connection. */
  token?: string | (() => string | Promise<string>);
  /** A one-time ticket for each connection, sent in the URL: for browsers behind a login. */
  ticket?: () => string | Promise<string>;
  onState?: (state: State) => void;
  /** An error that belongs to no request and no subscription. */
  onError?: (error: Error) => void;
  /** First and greatest delay before connecting again. */
  baseDelayMs?: number;
  maxDelayMs?: number;
  /** How long an answer may take before the connection counts as dead. */
  answerTimeoutMs?: number;
  random?: () => number;
}

const JSON_PROTOCOL = "hashpivot.v1.json";
/** Errors of a start that no retry mends: the cursor means nothing any more. */
const LOST = new Set(["other_epoch", "purged", "bad_cursor"]);
/** Errors that pass. */
const PASSING = new Set(["unavailable", "internal"]);
/** Silence of so many heartbeats is a dead line. */
const SILENT_BEATS = 2.5;

type Answer = Extract<Frame, { type: "ack" }>;
interface Waiter {
  resolve: (a: Answer) => void;
  reject: (e: Error) => void;
}

class Disconnected extends Error {}

/** A connection to a gateway that comes back by itself and goes on where it was: no hole without a notice, no double. */
export class Client {
  private readonly url: string;
  private readonly o: Required<Pick<ClientOptions, "baseDelayMs" | "maxDelayMs" | "answerTimeoutMs" | "random">> & ClientOptions;
  private ws: WebSocketLike | undefined;
  private readonly subs = new Map<string, Sub>();
  private readonly byName = new Map<string, Sub>();
  private readonly replays = new Set<Run>();
  private readonly waiters = new Map<string, Waiter>();
  private readonly timers = new Set<ReturnType<typeof setTimeout>>();
  private silence: ReturnType<typeof setTimeout> | undefined;
  private pinger: ReturnType<typeof setInterval> | undefined;
  private resumeToken: string | undefined;
  private ready = false;
  private attempt = 0;
  private nextID = 0;
  private ended = false;
  private current: State = { phase: "connecting" };
  /** Subs and replays must not be named twice at the same time. */
  private requesting: Promise<void> = Promise.resolve();

  constructor(url: string | URL, options: ClientOptions = {}) {
    this.url = String(url);
    this.o = { baseDelayMs: 500, maxDelayMs: 30_000, answerTimeoutMs: 20_000, random: Math.random, ...options };
    void this.connect();
  }

  get state(): State {
    return this.current;
  }

  /** Subscribes now and on each connection to come. The same content twice is refused. */
  subscribe<C extends Channel>(options: SubscribeOptions<C>, handlers: Handlers<ChannelMessages[C]> = {}): Subscription {
    const content = contentOf(options);
    if (this.subs.has(content)) throw new Error(`subscribe ${options.channel}: this client has a subscription of the same content`);
    const sub = new Sub<C>({ ...options }, handlers, (s) => this.unsubscribe(s)) as unknown as Sub;
    this.subs.set(content, sub);
    if (this.ready) this.inTurn(() => this.start(sub));
    return sub;
  }

  /** Sends a span of history at the pace it had, or another. */
  replay(options: ReplayOptions, handlers: ReplayHandlers = {}): Replay {
    const run = new Run({ ...options }, handlers, (r, request, done) => this.control(r, request, done));
    this.replays.add(run);
    if (this.ready) this.inTurn(() => this.startReplay(run));
    return run;
  }

  /** Milliseconds to the gateway and back. */
  async ping(): Promise<number> {
    const t = performance.now();
    await this.request({ op: "ping" });
    return performance.now() - t;
  }

  /** Connects at once instead of when the delay is over, or again after a close that is not retried. */
  reconnect(): void {
    if (this.ended || this.current.phase === "open" || this.current.phase === "connecting") return;
    this.clearTimers();
    void this.connect();
  }

  /** Ends the client. */
  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.disconnected(new Disconnected("the client was closed"));
    const ws = this.ws;
    this.ws = undefined;
    if (ws) {
      detach(ws);
      ws.close(1000);
    }
    this.enter({ phase: "closed", code: 1000, reason: "closed by the client" });
  }

  private enter(s: State): void {
    this.current = s;
    this.o.onState?.(s);
  }

  private async connect(): Promise<void> {
    this.enter({ ...this.current, phase: "connecting", delayMs: undefined });
    let url = this.url;
    try {
      if (this.o.ticket) {
        const u = new URL(url);
        u.searchParams.set("ticket", await this.o.ticket());
        url = u.toString();
      }
      if (this.ended) return;
      const Socket = this.o.WebSocket ?? (globalThis.WebSocket as unknown as NonNullable<ClientOptions["WebSocket"]>);
      const ws = new Socket(url, JSON_PROTOCOL);
      this.ws = ws;
      ws.onmessage = (ev) => this.received(ws, ev.data);
      ws.onerror = () => {}; // a close follows
      ws.onclose = (ev) => this.closed(ws, ev.code ?? 1006, String(ev.reason ?? ""));
      this.watch(this.o.answerTimeoutMs);
    } catch (err) {
      this.o.onError?.(err as Error);
      this.again(1006, String(err));
    }
  }

  /** Whatever arrives is a sign of life; without one for ms the line is dead. */
  private watch(ms?: number): void {
    clearTimeout(this.silence);
    const beat = this.current.welcome?.heartbeat_s;
    const limit = ms ?? (beat ? beat * 1000 * SILENT_BEATS : this.o.answerTimeoutMs);
    this.silence = setTimeout(() => this.drop(4900, "the gateway was silent"), limit);
  }

  /** Gives the connection up from our side without waiting for the other. */
  private drop(code: number, reason: string): void {
    const ws = this.ws;
    if (!ws) return;
    detach(ws);
    ws.close(code, reason);
    this.closed(ws, 1006, reason);
  }

  private closed(ws: WebSocketLike, code: number, reason: string): void {
    if (ws !== this.ws) return;
    this.ws = undefined;
    this.disconnected(new Disconnected(`the connection was closed: ${code} ${reason}`));
    this.again(code, reason);
  }

  private disconnected(err: Error): void {
    this.ready = false;
    this.clearTimers();
    this.byName.clear();
    for (const r of this.replays) r.sub = undefined;
    const waiters = [...this.waiters.values()];
    this.waiters.clear();
    for (const w of waiters) w.reject(err);
  }

  private again(code: number, reason: string): void {
    if (this.ended) return;
    let v = verdict(code, this.attempt++, { baseMs: this.o.baseDelayMs, maxMs: this.o.maxDelayMs, random: this.o.random });
    // An expired token that cannot be renewed is refused for ever.
    if (code === 4003 && typeof this.o.token !== "function" && !this.o.ticket) v = { reconnect: false };
    if (!v.reconnect) {
      this.enter({ ...this.current, phase: "closed", code, reason, delayMs: undefined });
      return;
    }
    this.enter({ ...this.current, phase: "waiting", code, reason, delayMs: v.delayMs });
    this.later(v.delayMs, () => void this.connect());
  }

  private later(ms: number, f: () => void): void {
    const t = setTimeout(() => {
      this.timers.delete(t);
      f();
    }, ms);
    this.timers.add(t);
  }

  private clearTimers(): void {
    clearTimeout(this.silence);
    clearInterval(this.pinger);
    for (const t of this.timers) clearTimeout(t);
    this.timers.clear();
  }

  /** onAck is called before any frame that follows the acknowledgement, which a promise's reader is not. */
  private request(body: Record<string, unknown>, onAck?: (a: Answer) => void): Promise<Answer> {
    const ws = this.ws;
    if (!ws || ws.readyState !== 1) return Promise.reject(new Disconnected("not connected"));
    const id = String(++this.nextID);
    return new Promise<Answer>((resolve, reject) => {
      const timer = setTimeout(() => {
        if (this.waiters.delete(id)) {
          reject(new Disconnected(`no answer to ${String(body["op"])}`));
          this.drop(4900, "no answer");
        }
      }, this.o.answerTimeoutMs);
      this.waiters.set(id, {
        resolve: (a) => (clearTimeout(timer), onAck?.(a), resolve(a)),
        reject: (e) => (clearTimeout(timer), reject(e)),
      });
      ws.send(JSON.stringify({ ...body, id }));
    });
  }

  private received(ws: WebSocketLike, data: unknown): void {
    if (ws !== this.ws || typeof data !== "string") return;
    let f: Frame;
    try {
      f = JSON.parse(data) as Frame;
    } catch {
      this.drop(4900, "a frame was no JSON");
      return;
    }
    this.watch();
    this.dispatch(f);
  }

  private dispatch(f: Frame): void {
    switch (f.type) {
      case "welcome":
        this.welcomed(f);
        return;
      case "ack":
        for (const s of f.subscriptions ?? []) this.bind(s);
        this.waiters.get(f.id ?? "")?.resolve(f);
        this.waiters.delete(f.id ?? "");
        return;
      case "error": {
        const err = new GatewayError(f.code, f.message);
        const w = f.id === undefined ? undefined : this.waiters.get(f.id);
        if (w) {
          this.waiters.delete(f.id!);
          w.reject(err);
          return;
        }
        const sub = f.sub === undefined ? undefined : this.byName.get(f.sub);
        if (sub) {
          // It has ended there; ask again from where it is.
          this.byName.delete(f.sub!);
          this.inTurn(() => this.refused(sub, err));
          return;
        }
        const run = f.sub === undefined ? undefined : this.replayNamed(f.sub);
        if (run) this.replayRefused(run, err);
        else this.o.onError?.(err);
        return;
      }
      case "snapshot":
        this.byName.get(f.sub)?.snapshot(f.messages ?? [], f.position);
        return;
      case "data": {
        const sub = this.byName.get(f.sub);
        if (sub) sub.data(f.messages ?? [], f.skipped);
        else this.replayNamed(f.sub)?.data(f.messages ?? []);
        return;
      }
      case "live":
        this.byName.get(f.sub)?.live(f.position);
        return;
      case "slow":
        this.byName.get(f.sub)?.slowed();
        return;
      case "skipped":
        this.byName.get(f.sub)?.skipped(f.skipped);
        return;
      case "heartbeat":
        this.attempt = 0; // not at the welcome: who accepts and drops at once must not reset the back-off
        if (f.resume) this.resumeToken = f.resume;
        for (const [name, position] of Object.entries(f.positions ?? {})) this.byName.get(name)?.heartbeat(position);
        return;
      case "replay": {
        const run = this.replayNamed(f.sub);
        run?.frame(f.state, f.time, f.speed);
        if (run && f.state === "ended") this.replays.delete(run);
        return;
      }
      case "shutdown":
        if (f.resume) this.resumeToken = f.resume;
        return;
    }
  }

  private replayNamed(name: string): Run | undefined {
    for (const r of this.replays) if (r.sub === name) return r;
    return undefined;
  }

  private bind(state: SubscriptionState): void {
    const sub = this.subs.get(contentOf({ ...state, symbols: state.symbols ?? [] }));
    if (!sub) return;
    sub.acknowledged(state);
    this.byName.set(state.sub, sub);
  }

  private welcomed(w: Welcome): void {
    this.enter({ phase: "open", welcome: w });
    this.watch();
    const beatMs = Math.max(1, w.heartbeat_s || 15) * 1000;
    clearInterval(this.pinger);
    this.pinger = setInterval(() => this.inTurn(() => this.request({ op: "ping" })), beatMs);
    this.inTurn(() => this.restore());
  }

  /** Requests of one kind after the other; a broken line ends them, and the next connection begins anew. */
  private inTurn(f: () => Promise<unknown>): void {
    this.requesting = this.requesting.then(async () => {
      try {
        await f();
      } catch (err) {
        if (!(err instanceof Disconnected)) this.o.onError?.(err as Error);
      }
    });
  }

  private async restore(): Promise<void> {
    if (this.o.token !== undefined) {
      const token = typeof this.o.token === "function" ? await this.o.token() : this.o.token;
      await this.request({ op: "authenticate", token });
    }
    this.ready = true;
    const known = [...this.subs.values()].filter((s) => s.sub !== undefined && s.position !== undefined);
    if (this.resumeToken !== undefined && known.length > 0) {
      const positions = Object.fromEntries(known.map((s) => [s.sub!, s.position!]));
      try {
        await this.request({ op: "resume", resume: this.resumeToken, positions });
      } catch (err) {
        // A token of another cluster, or too old: the cursors themselves still say where to go on.
        if (!(err instanceof GatewayError)) throw err;
        this.resumeToken = undefined;
      }
    }
    const resumed = new Set(this.byName.values());
    // What the token still knew and this client has left meanwhile.
    for (const s of this.subs.values()) if (!resumed.has(s)) await this.start(s);
    for (const r of this.replays) if (r.sub === undefined) await this.startReplay(r);
  }

  private async start(sub: Sub): Promise<void> {
    if (this.subs.get(sub.content) !== sub || (sub.sub !== undefined && this.byName.get(sub.sub) === sub)) return;
    try {
      await this.request({ op: "subscribe", ...wireSpec(sub.options), ...sub.start() });
    } catch (err) {
      if (!(err instanceof GatewayError)) throw err;
      await this.refused(sub, err);
    }
  }

  private async refused(sub: Sub, err: GatewayError): Promise<void> {
    if (LOST.has(err.code) && sub.start().from !== "snapshot") {
      sub.lost(err.code);
      await this.start(sub);
    } else if (PASSING.has(err.code)) {
      this.later(this.o.baseDelayMs * (1 + this.o.random()) * 2, () => this.inTurn(() => this.start(sub)));
    } else {
      this.subs.delete(sub.content);
      sub.handlers.onError?.(err);
    }
  }

  private async startReplay(run: Run): Promise<void> {
    if (!this.replays.has(run) || run.sub !== undefined) return;
    const paused = run.state === "paused";
    try {
      await this.request(run.request(), (ack) => (run.sub = ack.sub));
      if (paused) this.control(run, { action: "pause" });
    } catch (err) {
      if (!(err instanceof GatewayError)) throw err;
      this.replayRefused(run, err);
    }
  }

  private replayRefused(run: Run, err: GatewayError): void {
    this.replays.delete(run);
    run.handlers.onError?.(err);
    run.frame("ended", undefined, 0);
  }

  private control(run: Run, request: Record<string, unknown>, done?: () => void): void {
    if (request["action"] === "stop") this.replays.delete(run);
    this.inTurn(async () => {
      let told = done;
      const once = () => (told?.(), (told = undefined));
      try {
        // Not started yet, or the line is broken: the request that starts it carries the state.
        if (run.sub !== undefined) await this.request({ op: "control", sub: run.sub, ...request }, once);
      } finally {
        once();
      }
    });
  }

  private unsubscribe(sub: Sub): void {
    if (this.subs.get(sub.content) !== sub) return;
    this.subs.delete(sub.content);
    const name = sub.sub;
    if (name === undefined) return;
    this.byName.delete(name);
    if (this.ready) this.inTurn(() => this.request({ op: "unsubscribe", sub: name }));
  }
}

function detach(ws: WebSocketLike): void {
  ws.onopen = ws.onmessage = ws.onclose = null;
  ws.onerror = () => {};
}
