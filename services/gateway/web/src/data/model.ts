import type { Bar, FeedEvent, FeedGap, Halt, Hashprice, Message, Rate, Signal, Trade } from "@hashpivot/client";
import type { Span } from "../chart/spans.js";
import { Bars } from "./bars.js";
import { type Grid, type Range, gridOf } from "./grid.js";
import { type Hole, Points } from "./points.js";

export const EQUITIES = ["CORZ", "IREN", "BTBT", "WGMI"] as const;

const MINUTE = 60_000;
const DAY = 86_400_000;

/** How far apart values of a method are when nothing is missing. */
const CADENCE_MS: Record<string, number> = {
  luxor: 5 * MINUTE, braiins: 10 * MINUTE, daily: DAY, "coinmetrics-daily": DAY, "vast-metrics-median": DAY, "vast-metrics-rented": DAY,
};

export interface Gap {
  source: string;
  id: string;
  symbol: string;
  fromMs: number | undefined;
  toMs: number | undefined;
  reason: string;
  state: string;
  recovered: number;
  toldMs: number;
}

export interface Feed {
  source: string;
  state: string;
  sinceMs: number;
  detail: string;
}

export interface HaltSpan {
  fromMs: number;
  toMs: number | undefined;
  text: string;
}

export interface MarketEvent {
  ms: number;
  symbol: string;
  kind: string;
  title: string;
  source: string;
  exact: boolean;
}

/** Everything that the page knows of one range of time: live, or of a replay. */
export class Model {
  /** Rises with everything that is taken in. */
  version = 0;
  /** Rises when gaps, halts, sessions or events changed. */
  backdropVersion = 0;
  readonly points = new Map<string, Points>();
  readonly bars = new Map<string, Bars>();
  readonly hashprices = new Map<string, Hashprice>();
  readonly rates = new Map<string, Rate>();
  readonly signals = new Map<string, Signal>();
  readonly trades = new Map<string, Trade>();
  readonly feeds = new Map<string, Feed>();
  readonly gaps = new Map<string, Gap>();
  readonly halts = new Map<string, Halt[]>();
  events: MarketEvent[] = [];
  /** Last receive time of each source, ms. */
  readonly lastOf = new Map<string, number>();
  /** The latest event time of all that was taken in: the clock of a replay. */
  latestMs = 0;

  constructor(readonly range: Range) {}

  get stepMs(): number {
    return this.range.stepS * 1000;
  }

  grid(nowMs: number): Grid {
    return gridOf(this.range, nowMs);
  }

  series(id: string, cadenceMs: number): Points {
    let p = this.points.get(id);
    if (!p) this.points.set(id, (p = new Points(this.stepMs, cadenceMs)));
    return p;
  }

  /** A value of history, without the message that it was told in. */
  value(id: string, method: string, ms: number, value: number, lo?: number, hi?: number): void {
    this.version++;
    this.series(id, CADENCE_MS[method] ?? MINUTE).add(ms, value, lo, hi);
  }

  mark(events: MarketEvent[]): void {
    this.events = events;
    this.version++;
    this.backdropVersion++;
  }

  ingest(m: Message): void {
    const ms = Date.parse(m.event_time);
    this.version++;
    this.latestMs = Math.max(this.latestMs, ms);
    const told = Date.parse(m.recv_time ?? m.event_time);
    if (!m.backfill && told > (this.lastOf.get(m.source) ?? 0)) this.lastOf.set(m.source, told);
    switch (m.type) {
      case "bar":
        this.bar(m);
        return;
      case "hashprice":
        if (newer(m, this.hashprices.get(m.method))) this.hashprices.set(m.method, m);
        this.series(`hashprice/${m.method}`, CADENCE_MS[m.method] ?? MINUTE).add(ms, Number(m.hashprice_usd ?? 0));
        if (!m.published && m.btc_usd) this.series(m.method === "daily" ? "btc/daily" : "btc", m.method === "daily" ? DAY : MINUTE).add(ms, Number(m.btc_usd));
        return;
      case "rate": {
        const key = `${m.gpu}/${m.class}/${m.method}`;
        if (newer(m, this.rates.get(key))) this.rates.set(key, m);
        const band = m.p10_usd_per_gpu_hour && m.p90_usd_per_gpu_hour;
        this.series(`rate/${key}`, CADENCE_MS[m.method] ?? MINUTE).add(
          ms, Number(m.usd_per_gpu_hour ?? 0), band ? Number(m.p10_usd_per_gpu_hour) : undefined, band ? Number(m.p90_usd_per_gpu_hour) : undefined,
        );
        return;
      }
      case "signal": {
        const key = `${m.name}/${m.symbol}`;
        if (newer(m, this.signals.get(key))) this.signals.set(key, m);
        this.series(`signal/${key}`, m.name.endsWith("-1d") || m.name === "hashprice-difference" ? DAY : MINUTE).add(ms, Number(m.value ?? 0));
        return;
      }
      case "trade":
        if (m.action === "trade" && newer(m, this.trades.get(m.symbol))) this.trades.set(m.symbol, m);
        return;
      case "halt":
        this.halt(m);
        return;
      case "feed_event":
        this.feed(m, ms);
        return;
      case "feed_gap":
        this.gap(m, ms);
        return;
    }
  }

  private bar(m: Bar): void {
    const id = `${m.symbol}/${m.interval}/${m.source}`;
    let b = this.bars.get(id);
    if (!b) this.bars.set(id, (b = new Bars(this.stepMs, m.interval, m.source)));
    const size = b.size;
    b.add(m);
    if (b.size !== size) this.backdropVersion++;
  }

  private halt(m: Halt): void {
    if (m.kind !== "status") return;
    const list = this.halts.get(m.symbol) ?? [];
    if (list.some((h) => h.cursor === m.cursor)) return;
    list.push(m);
    list.sort((a, b) => Date.parse(a.event_time) - Date.parse(b.event_time));
    this.halts.set(m.symbol, list);
    this.backdropVersion++;
  }

  private feed(m: FeedEvent, ms: number): void {
    const old = this.feeds.get(m.source);
    if (old && old.sinceMs > ms) return;
    this.feeds.set(m.source, { source: m.source, state: m.state, sinceMs: ms, detail: m.detail ?? "" });
  }

  private gap(m: FeedGap, ms: number): void {
    const key = `${m.source}/${m.gap_id}`;
    const old = this.gaps.get(key);
    if (old && old.toldMs > ms) return;
    this.gaps.set(key, {
      source: m.source, id: m.gap_id, symbol: m.symbol, state: m.state, reason: m.reason ?? "", recovered: Number(m.recovered ?? 0), toldMs: ms,
      fromMs: m.from_time ? Date.parse(m.from_time) : old?.fromMs, toMs: m.to_time ? Date.parse(m.to_time) : undefined,
    });
    this.backdropVersion++;
  }

  prune(g: Grid): void {
    for (const p of this.points.values()) p.prune(g);
    for (const b of this.bars.values()) b.prune(g);
  }

  /**
   * The bars to show of a symbol: of the finest interval that reaches back far enough, from the source that is alive; venues' own before ours, then by
   * name, so that the choice is the same each time.
   */
  bestBars(symbol: string, g: Grid): Bars | undefined {
    let best: Bars | undefined;
    for (const interval of this.range.bars) {
      const all = [...this.bars.entries()].filter(([id, b]) => id.startsWith(`${symbol}/${interval}/`) && b.size > 0).map(([, b]) => b);
      const newest = Math.max(...all.map((b) => b.lastMs));
      const rank = (b: Bars) => (b.source.endsWith("-prints") ? "1" : "0") + b.source;
      const alive = all.filter((b) => b.lastMs >= newest - 3 * b.intervalMs).sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
      const here = alive[0];
      if (!here) continue;
      if (!best) best = here;
      // A finer interval that has only begun gives way to a coarser one that is there.
      else if (best.size < (g.to - g.from) / 20 && here.size > best.size) best = here;
    }
    return best;
  }

  /** Stretches of the ledger in which a source has nothing; what was filled is none. */
  holesOf(source: string, symbol: string, nowMs: number): Hole[] {
    const feed = source.replace(/-prints$/, "");
    const out: Hole[] = [];
    for (const g of this.gaps.values()) {
      if (g.source !== feed || g.state === "filled" || g.fromMs === undefined || (g.symbol !== "*" && g.symbol !== symbol)) continue;
      out.push({ fromMs: g.fromMs, toMs: g.toMs ?? nowMs });
    }
    return out;
  }

  /** Holes of all that a message says it was made of, and of who told it. */
  holesBehind(m: Hashprice | Rate | Signal | undefined, nowMs: number): Hole[] {
    if (!m) return [];
    const inputs = Object.entries(("inputs" in m && m.inputs) || {}).filter(([k]) => /source/.test(k)).flatMap(([, v]) => String(v).split(/[ ,]+/));
    const sources = new Set([m.source, "btc_usd_source" in m ? (m.btc_usd_source ?? "") : "", ...inputs]);
    const own = [...sources].flatMap((s) => (s ? this.holesOf(s, "*", nowMs) : []));
    const method = m.type === "signal" ? m.inputs?.["hashprice.method"] : undefined;
    return method ? [...own, ...this.holesBehind(this.hashprices.get(method), nowMs)] : own;
  }

  haltSpans(symbol: string): HaltSpan[] {
    const out: HaltSpan[] = [];
    for (const h of this.halts.get(symbol) ?? []) {
      const words = `${h.status_code ?? ""} ${h.status_text ?? ""}`;
      const ms = Date.parse(h.event_time);
      const open = out[out.length - 1];
      if (isHalt(words)) {
        if (!open || open.toMs !== undefined) out.push({ fromMs: ms, toMs: undefined, text: [h.status_text, h.reason_text].filter(Boolean).join(": ") });
      } else if (open && open.toMs === undefined && isResumption(words)) open.toMs = ms;
    }
    return out;
  }

  /** Sessions of a symbol outside the regular one, as the bars say. */
  sessionSpans(symbol: string, g: Grid): Span[] {
    const kinds = new Map<number, string>();
    for (const [id, b] of this.bars) {
      if (!id.startsWith(`${symbol}/`) || b.intervalMs >= DAY) continue;
      for (const c of b.candles(g)) if (c.session) for (let n = c.slot; n < c.slot + c.width; n++) kinds.set(n, c.session);
    }
    const out: Span[] = [];
    let last: Span | undefined;
    for (let n = g.from; n <= g.to; n++) {
      const kind = kinds.get(n);
      if (kind !== "pre" && kind !== "after" && kind !== "overnight") {
        if (kind) last = undefined; // regular; where there is no bar the session may go on
        continue;
      }
      if (last?.kind === kind && n - last.to < 6) last.to = n;
      else out.push((last = { from: n, to: n, kind }));
    }
    return out;
  }
}

export function isHalt(words: string): boolean {
  return /halt|pause|suspen/i.test(words) && !isResumption(words);
}

function isResumption(words: string): boolean {
  return /resum|^T\b|trading on/i.test(words);
}

function newer(m: Message, old: Message | undefined): boolean {
  if (!old || m.event_time === old.event_time) return !old || (m.rev ?? 0) >= (old.rev ?? 0);
  return Date.parse(m.event_time) >= Date.parse(old.event_time);
}
