import type { Bar } from "@hashpivot/client";
import type { Grid } from "./grid.js";

export interface Candle {
  slot: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  session: string;
  /** Slots that it covers. */
  width: number;
}

interface Stored {
  ms: number;
  rev: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
  session: string;
}

const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Bars of one symbol, interval and source, the last revision of each. */
export class Bars {
  structure = 0;
  version = 0;
  lastMs = 0;
  readonly intervalMs: number;
  private readonly bars = new Map<number, Stored>();
  private newest = -Infinity;

  constructor(
    readonly stepMs: number,
    interval: string,
    readonly source: string,
  ) {
    this.intervalMs = parseInt(interval, 10) * (UNIT_MS[interval.slice(-1)] ?? 60_000) || 60_000;
  }

  get size(): number {
    return this.bars.size;
  }

  add(b: Bar): void {
    const ms = Date.parse(b.event_time);
    const rev = b.rev ?? 0;
    const old = this.bars.get(ms);
    if (!Number.isFinite(ms) || (old && old.rev > rev)) return;
    // A withdrawn bar: all of its prints were cancelled.
    if (b.method && !b.trade_count && !Number(b.volume ?? 0)) {
      this.bars.delete(ms);
      this.structure++;
      this.version++;
      return;
    }
    const close = Number(b.close_usd ?? 0);
    this.bars.set(ms, {
      ms, rev, close, open: Number(b.open_usd ?? close), high: Number(b.high_usd ?? close), low: Number(b.low_usd ?? close), volume: Number(b.volume ?? 0),
      session: b.session || old?.session || "",
    });
    const n = Math.floor(ms / this.stepMs);
    this.version++;
    if (n < this.newest || !old) this.structure++;
    this.newest = Math.max(this.newest, n);
    this.lastMs = Math.max(this.lastMs, ms);
  }

  prune(g: Grid): void {
    for (const ms of this.bars.keys()) if (ms < (g.from - 1) * g.stepMs) this.bars.delete(ms);
  }

  last(): Stored | undefined {
    return this.bars.get(this.lastMs);
  }

  /** Bars of the grid, several of a slot made one. */
  candles(g: Grid): Candle[] {
    const from = g.from * g.stepMs;
    const to = (g.to + 1) * g.stepMs;
    const inGrid = [...this.bars.values()].filter((b) => b.ms >= from && b.ms < to).sort((a, b) => a.ms - b.ms);
    const width = Math.max(1, Math.round(this.intervalMs / g.stepMs));
    const out: Candle[] = [];
    for (const b of inGrid) {
      const slot = Math.floor(b.ms / g.stepMs);
      const last = out[out.length - 1];
      if (last?.slot === slot) {
        last.high = Math.max(last.high, b.high);
        last.low = Math.min(last.low, b.low);
        last.close = b.close;
        last.volume += b.volume;
        last.session ||= b.session;
      } else out.push({ slot, open: b.open, high: b.high, low: b.low, close: b.close, volume: b.volume, session: b.session, width });
    }
    return out;
  }
}
