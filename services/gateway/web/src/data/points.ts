import type { Grid } from "./grid.js";

/** A stretch of time in which nothing is known; to: still open. */
export interface Hole {
  fromMs: number;
  toMs: number;
}

interface Slot {
  firstMs: number;
  lastMs: number;
  value: number;
  lo?: number;
  hi?: number;
}

/** One point of a line. cut: what lies before it is not joined to it. */
export interface LinePoint {
  slot: number;
  value: number;
  lo?: number;
  hi?: number;
  cut: boolean;
}

/** A series of values, the last of each slot, and when each slot's first and last were. */
export class Points {
  /** Rises when something else than the last slot changed. */
  structure = 0;
  /** Rises with each change. */
  version = 0;
  lastMs = 0;
  private readonly slots = new Map<number, Slot>();
  private newest = -Infinity;

  /** cadenceMs: how far apart two values are when nothing is missing. */
  constructor(
    readonly stepMs: number,
    readonly cadenceMs: number,
  ) {}

  get size(): number {
    return this.slots.size;
  }

  /** A value at a time; of the same slot the latest counts, of the same time the one told last. */
  add(ms: number, value: number, lo?: number, hi?: number): void {
    if (!Number.isFinite(ms) || !Number.isFinite(value)) return;
    const n = Math.floor(ms / this.stepMs);
    const s = this.slots.get(n);
    if (!s) this.slots.set(n, { firstMs: ms, lastMs: ms, value, lo, hi });
    else {
      s.firstMs = Math.min(s.firstMs, ms);
      if (ms >= s.lastMs) {
        s.lastMs = ms;
        s.value = value;
        s.lo = lo;
        s.hi = hi;
      }
    }
    this.lastMs = Math.max(this.lastMs, ms);
    this.version++;
    if (n < this.newest || !s) this.structure++;
    this.newest = Math.max(this.newest, n);
  }

  /** Forgets what lies before the grid, so that a page open for a month does not grow. */
  prune(g: Grid): void {
    for (const n of this.slots.keys()) if (n < g.from - 1) this.slots.delete(n);
  }

  /** The last value at or before a slot, however old. */
  at(slot: number, from: number): number | undefined {
    for (let n = slot; n >= from; n--) {
      const s = this.slots.get(n);
      if (s) return s.value;
    }
    return undefined;
  }

  has(slot: number): boolean {
    return this.slots.has(slot);
  }

  /** Holes in which there is no value: a method with several inputs goes on while one of them is away. */
  bare(holes: readonly Hole[]): Hole[] {
    if (holes.length === 0) return [];
    const slots = [...this.slots.values()];
    const within = (ms: number, h: Hole) => ms > h.fromMs && ms < h.toMs;
    return holes.filter((h) => !slots.some((s) => within(s.firstMs, h) || within(s.lastMs, h)));
  }

  /**
   * The points of a grid. A line is cut where the distance between two values exceeds thrice the cadence (or two slots, where those are longer), and
   * where a hole of the ledger lies between them: a line across a hole would claim what nobody knows.
   */
  line(g: Grid, holes: readonly Hole[] = []): LinePoint[] {
    const out: LinePoint[] = [];
    const tolerance = Math.max(3 * this.cadenceMs, 2 * this.stepMs);
    let before: Slot | undefined;
    for (let n = g.from; n <= g.to; n++) {
      const s = this.slots.get(n);
      if (!s) continue;
      const cut = !before || s.firstMs - before.lastMs > tolerance || holes.some((h) => h.fromMs < s.firstMs && h.toMs > before!.lastMs);
      out.push({ slot: n, value: s.value, lo: s.lo, hi: s.hi, cut });
      before = s;
    }
    return out;
  }
}
