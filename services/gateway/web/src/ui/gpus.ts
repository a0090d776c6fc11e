import type { Rate } from "@hashpivot/client";
import { DASHES } from "../chart/palette.js";
import { type Sync, TimeChart } from "../chart/timechart.js";
import { age, num, stamp } from "../format.js";
import { type Card, Table, card, el } from "./dom.js";
import { type Actions, Key, type Panel, type Scene, showAge } from "./panel.js";
import { versionOf } from "./pivot.js";

/** The index over all providers first, then single ones; long ranges reach back with Vast.ai's own medians. */
const METHODS = ["gpu-wmedian", "vast-wmedian", "vast-metrics-median"] as const;
const CLASSES = ["on-demand", "interruptible", "reserved"] as const;

/** GPU rental indices by model. */
export class GPUPanel implements Panel {
  readonly root: HTMLElement;
  private readonly card: Card;
  private readonly table = new Table("GPU rental indices by model", ["Model", "$/GPU-h", "p10 – p90", "GPUs", "Providers", "Dispersion", "Method", "Age"]);
  private readonly classes = new Map<string, HTMLButtonElement>();
  private readonly keys: Key[];
  private readonly chart: TimeChart;
  private slot: number | undefined;
  private scene: Scene | undefined;

  constructor(sync: Sync, private readonly actions: Actions, dark: boolean) {
    const group = el("div", { class: "group", role: "group", "aria-label": "Class of rental" });
    for (const c of CLASSES) {
      const b = el("button", { type: "button", onclick: () => actions.setClass(c) }, c);
      this.classes.set(c, b);
      group.append(b);
    }
    this.card = card("gpus", "GPU rental indices", group);
    this.root = this.card.root;
    this.keys = METHODS.map((m, i) => new Key(m, (p) => p.lines[i]!, DASHES[i], dark));
    const host = el("div", { class: "chart", role: "img", "aria-label": "Rental index of the chosen GPU over time, with the 10th to 90th percentile" });
    this.card.body.append(el("div", { class: "scroll" }, this.table.root), el("div", { class: "legend" }, ...this.keys.map((k) => k.root)), host);
    this.chart = new TimeChart(host, sync, dark);
    for (const [i, m] of [...METHODS.entries()].reverse()) {
      this.chart.line(m, { digits: 3, style: (p) => ({ color: p.lines[i]!, dash: DASHES[i]!, band: i === 0 ? p.band : "", lastValueVisible: i === 0 }) });
    }
    this.chart.onPoint = (slot) => {
      this.slot = slot;
      if (this.scene) this.legend(this.scene);
    };
  }

  draw(s: Scene): void {
    this.scene = s;
    const { view, model } = s;
    for (const [c, b] of this.classes) b.setAttribute("aria-pressed", String(c === view.cls));
    const best = new Map<string, Rate>();
    for (const method of METHODS) {
      for (const r of model.rates.values()) if (r.method === method && r.class === view.cls && !best.has(r.gpu)) best.set(r.gpu, r);
    }
    const rows = [...best.values()].sort((a, b) => Number(b.usd_per_gpu_hour ?? 0) - Number(a.usd_per_gpu_hour ?? 0));
    this.table.set(
      rows.map((r) => ({
        key: r.gpu,
        class: r.gpu === view.gpu ? "chosen" : "",
        cells: [
          this.chooser(r.gpu),
          num(Number(r.usd_per_gpu_hour ?? 0), 3),
          r.p10_usd_per_gpu_hour ? `${num(Number(r.p10_usd_per_gpu_hour), 2)} – ${num(Number(r.p90_usd_per_gpu_hour ?? 0), 2)}` : "–",
          r.sample_gpus ? num(r.sample_gpus, 0) : "–",
          r.sample_providers ? String(r.sample_providers) : "–",
          r.dispersion === undefined || r.dispersion === null ? "–" : num(r.dispersion, 2),
          r.method,
          age(s.nowMs - Date.parse(r.event_time)),
        ],
      })),
    );
    const newest = Math.max(0, ...rows.map((r) => Date.parse(r.event_time)));
    showAge(this.card.age, newest || undefined, s.nowMs, 5 * 60_000);
    this.chart.setGrid(s.grid);
    for (const [i, m] of METHODS.entries()) {
      const key = `${view.gpu}/${view.cls}/${m}`;
      const points = model.points.get(`rate/${key}`);
      this.chart.drawLine(m, points && versionOf(points, key, model.backdropVersion), () =>
        points!.line(s.grid, points!.bare(model.holesBehind(model.rates.get(key), s.nowMs))),
      );
      this.keys[i]!.root.hidden = !points;
    }
    this.legend(s);
  }

  private readonly choosers = new Map<string, HTMLButtonElement>();
  private chooser(gpu: string): HTMLButtonElement {
    let b = this.choosers.get(gpu);
    if (!b) this.choosers.set(gpu, (b = el("button", { type: "button", class: "plain", title: `Show ${gpu}`, onclick: () => this.actions.setGPU(gpu) }, gpu)));
    return b;
  }

  private legend(s: Scene): void {
    for (const [i, m] of METHODS.entries()) {
      const last = s.model.rates.get(`${s.view.gpu}/${s.view.cls}/${m}`);
      const v = this.slot === undefined ? (last ? Number(last.usd_per_gpu_hour ?? 0) : undefined) : this.chart.valueAt(m, this.slot);
      this.keys[i]!.set(num(v, 3) + (this.slot !== undefined && i === 0 ? ` at ${stamp(this.slot * s.grid.stepMs)}` : ""));
    }
  }

  recolor(dark: boolean): void {
    this.chart.recolor(dark);
    for (const k of this.keys) k.recolor(dark);
  }
}
