import {
  type CustomSeriesOptions, type IChartApi, type ISeriesApi, type Logical, type MouseEventParams, type SeriesPartialOptions, type Time, type UTCTimestamp,
  CrosshairMode, LineSeries, PriceScaleMode, createChart,
} from "lightweight-charts";
import { type Grid, sameGrid, slotTime } from "../data/grid.js";
import type { LinePoint } from "../data/points.js";
import type { Candle } from "../data/bars.js";
import { type CandleItem, type CandleOptions, Candles } from "./candles.js";
import { GapLine, type LineItem, type LineOptions } from "./line.js";
import { type Palette, palette } from "./palette.js";
import { Backdrop, type Mark, type Span } from "./spans.js";

type Series = ISeriesApi<"Custom", Time, any>;

interface Row {
  series: Series;
  pane: number;
  style: (p: Palette) => Partial<LineOptions & CandleOptions & CustomSeriesOptions>;
  /** What the series shows now. */
  structure: number;
  version: number;
  values: Map<number, number>;
}

/** How a series looks; colours are asked for again when the theme changes. */
export interface Look {
  style: (p: Palette) => Partial<LineOptions & CandleOptions & CustomSeriesOptions>;
  pane?: number;
  digits?: number;
}

export interface Versioned {
  structure: number;
  version: number;
}

/** Charts whose crosshairs and time ranges move together. */
export class Sync {
  readonly charts = new Set<TimeChart>();
  private busy = false;

  crosshair(from: TimeChart, slot: number | undefined): void {
    if (this.busy) return;
    this.busy = true;
    for (const c of this.charts) c.point(slot, c !== from);
    this.busy = false;
  }

  visible(from: TimeChart, range: { from: number; to: number }): void {
    if (this.busy) return;
    this.busy = true;
    for (const c of this.charts) if (c !== from) c.show(range);
    this.busy = false;
  }
}

/** One chart over the common grid. */
export class TimeChart {
  readonly chart: IChartApi;
  private readonly anchor: ISeriesApi<"Line">;
  private readonly backdrops: Backdrop[];
  private readonly rows = new Map<string, Row>();
  private grid: Grid | undefined;
  private colors: Palette;
  /** Called with the slot under the crosshair of any chart, undefined when there is none. */
  onPoint: ((slot: number | undefined) => void) | undefined;

  constructor(
    readonly host: HTMLElement,
    private readonly sync: Sync,
    dark: boolean,
    o: { panes?: number; log?: readonly number[] } = {},
  ) {
    this.colors = palette(dark);
    this.chart = createChart(host, {
      autoSize: true,
      layout: { attributionLogo: false, background: { color: "transparent" }, fontFamily: "system-ui, sans-serif", fontSize: 11, panes: { enableResize: false } },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.12, bottom: 0.08 }, minimumWidth: 62 },
      timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false, minBarSpacing: 0.05, rightOffset: 0, lockVisibleTimeRangeOnResize: true },
      crosshair: { mode: CrosshairMode.Normal },
      handleScale: { axisPressedMouseMove: { price: false, time: true } },
    });
    this.anchor = this.chart.addSeries(LineSeries, { lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false });
    this.backdrops = [];
    for (let i = 0; i < (o.panes ?? 1); i++) {
      const pane = this.chart.panes()[i] ?? this.chart.addPane(true);
      const b = new Backdrop(this.colors);
      pane.attachPrimitive(b);
      this.backdrops.push(b);
      if (o.log?.includes(i)) this.chart.priceScale("right", i).applyOptions({ mode: PriceScaleMode.Logarithmic });
    }
    this.recolor(dark);
    this.chart.subscribeCrosshairMove((p) => this.moved(p));
    this.chart.timeScale().subscribeVisibleLogicalRangeChange((r) => {
      if (r) this.sync.visible(this, { from: r.from, to: r.to });
    });
    sync.charts.add(this);
  }

  line(id: string, look: Look): void {
    this.row(id, look, () => this.chart.addCustomSeries(new GapLine(), {}, look.pane ?? 0) as unknown as Series);
  }

  candles(id: string, look: Look): void {
    this.row(id, look, () => this.chart.addCustomSeries(new Candles(), {}, look.pane ?? 0) as unknown as Series);
  }

  private row(id: string, look: Look, make: () => Series): void {
    if (this.rows.has(id)) return;
    const series = make();
    const digits = look.digits ?? 2;
    series.applyOptions({
      priceLineVisible: false,
      lastValueVisible: true,
      priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits },
      ...look.style(this.colors),
    } as SeriesPartialOptions<CustomSeriesOptions>);
    this.rows.set(id, { series, pane: look.pane ?? 0, style: look.style, structure: -1, version: -1, values: new Map() });
  }

  drop(id: string): void {
    const row = this.rows.get(id);
    if (!row) return;
    this.chart.removeSeries(row.series);
    this.rows.delete(id);
  }

  ids(): string[] {
    return [...this.rows.keys()];
  }

  /** Puts the slots of the grid under everything, so that each chart has the same index for the same time. */
  setGrid(g: Grid): void {
    if (sameGrid(this.grid, g)) return;
    const before = this.grid;
    const shown = this.chart.timeScale().getVisibleLogicalRange();
    const whole = !before || before.stepMs !== g.stepMs || !shown || (shown.from <= 0.6 && shown.to >= before.to - before.from - 0.6);
    this.grid = g;
    const slots = [];
    for (let n = g.from; n <= g.to; n++) slots.push({ time: slotTime(g, n) as UTCTimestamp });
    this.anchor.setData(slots);
    for (const row of this.rows.values()) row.structure = -1;
    if (whole) this.fit();
    this.chart.timeScale().applyOptions({ timeVisible: g.stepMs < 86_400_000 });
  }

  fit(): void {
    if (!this.grid) return;
    this.chart.timeScale().setVisibleLogicalRange({ from: -0.5, to: this.grid.to - this.grid.from + 0.5 });
  }

  show(range: { from: number; to: number }): void {
    this.chart.timeScale().setVisibleLogicalRange(range);
  }

  /** Draws a line; if only its last slot has changed, only that. */
  drawLine(id: string, v: Versioned | undefined, points: () => LinePoint[]): void {
    const toItem = (p: LinePoint): LineItem => ({ time: slotTime(this.grid!, p.slot) as UTCTimestamp, value: p.value, lo: p.lo, hi: p.hi, cut: p.cut });
    this.draw(id, v, points, toItem, (p) => p.value);
  }

  drawCandles(id: string, v: Versioned | undefined, candles: () => Candle[]): void {
    const toItem = (c: Candle): CandleItem => ({
      time: slotTime(this.grid!, c.slot) as UTCTimestamp, open: c.open, high: c.high, low: c.low, close: c.close, width: c.width,
    });
    this.draw(id, v, candles, toItem, (c) => c.close);
  }

  private draw<P extends { slot: number }>(
    id: string, v: Versioned | undefined, read: () => P[], toItem: (p: P) => LineItem | CandleItem, value: (p: P) => number,
  ): void {
    const row = this.rows.get(id);
    if (!row || !this.grid) return;
    if (!v) {
      if (row.values.size > 0) row.series.setData([]);
      row.values.clear();
      row.structure = row.version = -1;
      return;
    }
    if (row.version === v.version && row.structure === v.structure) return;
    const points = read();
    const last = points[points.length - 1];
    if (row.structure === v.structure && last) {
      row.series.update(toItem(last));
      row.values.set(last.slot, value(last));
    } else {
      row.series.setData(points.map(toItem));
      row.values = new Map(points.map((p) => [p.slot, value(p)]));
    }
    row.structure = v.structure;
    row.version = v.version;
  }

  backdrop(spans: readonly Span[], marks: readonly Mark[] = []): void {
    if (this.grid) for (const [i, b] of this.backdrops.entries()) b.set(this.grid, spans, i === 0 ? marks : []);
  }

  valueAt(id: string, slot: number): number | undefined {
    return this.rows.get(id)?.values.get(slot);
  }

  private moved(p: MouseEventParams<Time>): void {
    if (!p.sourceEvent || !this.grid) return; // moved by us, not by a hand
    const slot = p.time === undefined ? undefined : Math.round(((p.time as number) * 1000) / this.grid.stepMs);
    this.sync.crosshair(this, slot);
  }

  /** The crosshair stands at a slot in some chart. */
  point(slot: number | undefined, draw: boolean): void {
    if (draw) {
      if (slot === undefined || !this.grid) this.chart.clearCrosshairPosition();
      else {
        for (const row of this.rows.values()) {
          const price = nearest(row.values, slot, this.grid.from);
          if (price === undefined) continue;
          this.chart.setCrosshairPosition(price, slotTime(this.grid, slot) as UTCTimestamp, row.series);
          break;
        }
      }
    }
    this.onPoint?.(slot);
  }

  recolor(dark: boolean): void {
    const p = (this.colors = palette(dark));
    this.chart.applyOptions({
      layout: { textColor: p.muted, panes: { separatorColor: p.grid } },
      grid: { vertLines: { color: p.grid }, horzLines: { color: p.grid } },
      crosshair: { vertLine: { color: p.crosshair, labelBackgroundColor: p.label }, horzLine: { color: p.crosshair, labelBackgroundColor: p.label } },
    });
    for (const row of this.rows.values()) row.series.applyOptions(row.style(p) as SeriesPartialOptions<CustomSeriesOptions>);
    for (const b of this.backdrops) b.recolor(p);
  }

  /** Slots that are seen. */
  visible(): { from: number; to: number } | undefined {
    const r = this.chart.timeScale().getVisibleLogicalRange();
    if (!r || !this.grid) return undefined;
    return { from: this.grid.from + Math.ceil(r.from as Logical), to: this.grid.from + Math.floor(r.to as Logical) };
  }
}

function nearest(values: ReadonlyMap<number, number>, slot: number, from: number): number | undefined {
  for (let n = slot; n >= from; n--) {
    const v = values.get(n);
    if (v !== undefined) return v;
  }
  return values.values().next().value;
}
