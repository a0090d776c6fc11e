import { DASHES } from "../chart/palette.js";
import { type Sync, TimeChart } from "../chart/timechart.js";
import { EQUITIES, type Model } from "../data/model.js";
import type { Grid } from "../data/grid.js";
import type { LinePoint } from "../data/points.js";
import { num, stamp } from "../format.js";
import { type Card, card, el } from "./dom.js";
import { type Actions, Key, type Panel, type Scene, showAge } from "./panel.js";
import { versionOf } from "./pivot.js";

/** What can be compared; gpu and premium follow the chosen model. */
export const COMPARABLE = [...EQUITIES, "BTC", "hashprice", "premium", "gpu"] as const;

interface Raw {
  structure: number;
  version: number;
  lastMs: number;
  line: () => LinePoint[];
}

/** Several series from 100 at the beginning of what is seen. */
export class ComparePanel implements Panel {
  readonly root: HTMLElement;
  private readonly card: Card;
  private readonly chips = new Map<string, HTMLButtonElement>();
  private readonly keys = new Map<string, Key>();
  private readonly chart: TimeChart;
  private slot: number | undefined;
  private scene: Scene | undefined;
  private base: number | undefined;

  constructor(sync: Sync, actions: Actions, dark: boolean) {
    this.card = card("compare", "Compare: 100 at the left edge");
    this.root = this.card.root;
    const chips = el("div", { class: "chips", role: "group", "aria-label": "Series to compare" });
    const legend = el("div", { class: "legend" });
    for (const [i, id] of COMPARABLE.entries()) {
      const b = el("button", { type: "button", onclick: () => actions.toggleCompare(id) }, id);
      this.chips.set(id, b);
      chips.append(b);
      const key = new Key(id, (p) => p.lines[i]!, DASHES[i], dark);
      this.keys.set(id, key);
      legend.append(key.root);
    }
    const host = el("div", { class: "chart", role: "img", "aria-label": "Chosen series, rebased to 100" });
    this.card.body.append(chips, legend, host);
    this.chart = new TimeChart(host, sync, dark);
    for (const [i, id] of COMPARABLE.entries()) this.chart.line(id, { style: (p) => ({ color: p.lines[i]!, dash: DASHES[i]! }) });
    this.chart.onPoint = (slot) => {
      this.slot = slot;
      if (this.scene) this.legend(this.scene);
    };
  }

  draw(s: Scene): void {
    this.scene = s;
    this.chart.setGrid(s.grid);
    const seen = this.chart.visible();
    this.base = Math.max(s.grid.from, seen?.from ?? s.grid.from);
    let newest = 0;
    for (const id of COMPARABLE) {
      const chosen = s.view.compare.includes(id);
      this.chips.get(id)!.setAttribute("aria-pressed", String(chosen));
      this.keys.get(id)!.root.hidden = !chosen;
      const raw = chosen ? this.raw(id, s.model, s.grid, s) : undefined;
      if (raw) newest = Math.max(newest, raw.lastMs);
      this.chart.drawLine(id, raw && versionOf(raw, `${id}/${s.view.gpu}`, this.base), () => rebase(raw!.line(), this.base!));
    }
    showAge(this.card.age, newest || undefined, s.nowMs, 10 * 60_000);
    this.legend(s);
  }

  private raw(id: string, model: Model, grid: Grid, s: Scene): Raw | undefined {
    if ((EQUITIES as readonly string[]).includes(id)) {
      const bars = model.bestBars(id, grid);
      if (!bars) return undefined;
      const holes = model.holesOf(bars.source, id, s.nowMs);
      // Bars are not joined across a closed market or a hole; within a session a quiet minute is no hole.
      const quiet = Math.max(45 * 60_000, 3 * grid.stepMs, bars.intervalMs >= 86_400_000 ? 5 * 86_400_000 : 0);
      const line = () =>
        bars.candles(grid).map((c, i, all): LinePoint => {
          const before = all[i - 1];
          const [a, b] = [before ? before.slot * grid.stepMs : 0, c.slot * grid.stepMs];
          return { slot: c.slot, value: c.close, cut: !before || b - a > quiet || holes.some((h) => h.fromMs < b && h.toMs > a + grid.stepMs) };
        });
      return { structure: bars.structure + model.backdropVersion, version: bars.version, lastMs: bars.lastMs, line };
    }
    const long = grid.stepMs >= 3_600_000;
    const first = (...ids: string[]) => ids.map((x) => model.points.get(x)).find((p) => p && p.size > 1);
    const gpu = s.view.gpu;
    const points =
      id === "BTC" ? (long ? first("btc/daily", "btc") : first("btc"))
      : id === "hashprice" ? (long ? first("hashprice/daily", "hashprice/tip144") : first("hashprice/tip144"))
      : id === "premium" ? (long ? first(`signal/pivot-premium-1d/${gpu}`, `signal/pivot-premium/${gpu}`) : first(`signal/pivot-premium/${gpu}`))
      : long ? first(`rate/${gpu}/${s.view.cls}/vast-metrics-median`, `rate/${gpu}/${s.view.cls}/gpu-wmedian`) : first(`rate/${gpu}/${s.view.cls}/gpu-wmedian`);
    return points && { structure: points.structure, version: points.version, lastMs: points.lastMs, line: () => points.line(grid) };
  }

  private legend(s: Scene): void {
    const slot = this.slot;
    let when = slot === undefined ? "" : ` at ${stamp(slot * s.grid.stepMs)}`;
    for (const id of COMPARABLE) {
      if (!s.view.compare.includes(id)) continue;
      const v = slot === undefined ? undefined : this.chart.valueAt(id, slot);
      this.keys.get(id)!.set(slot === undefined ? "" : num(v, 2) + when);
      when = "";
    }
  }

  recolor(dark: boolean): void {
    this.chart.recolor(dark);
    for (const k of this.keys.values()) k.recolor(dark);
  }
}

/** Divides by the first value at or after the base, which becomes 100. */
export function rebase(points: readonly LinePoint[], base: number): LinePoint[] {
  const first = points.find((p) => p.slot >= base && p.value !== 0);
  if (!first) return [];
  return points.map((p) => ({ slot: p.slot, value: (100 * p.value) / first.value, cut: p.cut }));
}
