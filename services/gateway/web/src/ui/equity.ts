import type { Span } from "../chart/spans.js";
import { type Sync, TimeChart } from "../chart/timechart.js";
import type { Candle } from "../data/bars.js";
import { dateUTC, num, signedPercent, stamp, usd } from "../format.js";
import { type Card, card, el, setText } from "./dom.js";
import { type Panel, type Scene, showAge } from "./panel.js";
import { versionOf } from "./pivot.js";

/** One equity: bars with sessions shaded, halts, contract events and the feed's gaps. */
export class EquityPanel implements Panel {
  readonly root: HTMLElement;
  private readonly card: Card;
  private readonly price = el("span", { class: "price" });
  private readonly change = el("span");
  private readonly halt = el("span", { class: "halted", role: "status", hidden: true });
  private readonly legend = el("div", { class: "legend" });
  private readonly chart: TimeChart;
  private candles: Candle[] = [];
  private slot: number | undefined;
  private scene: Scene | undefined;
  private backdrop = "";

  constructor(readonly symbol: string, sync: Sync, dark: boolean) {
    this.card = card(`equity-${symbol}`, symbol, this.halt);
    this.root = this.card.root;
    this.root.classList.add("equity");
    const host = el("div", { class: "chart", role: "img", "aria-label": `${symbol}: bars, with sessions, halts, events and gaps` });
    this.card.body.append(el("div", {}, this.price, " ", this.change), host, this.legend);
    this.chart = new TimeChart(host, sync, dark);
    this.chart.candles(symbol, { style: (p) => ({ up: p.up, down: p.down, color: p.up }) });
    this.chart.onPoint = (slot) => {
      this.slot = slot;
      if (this.scene) this.describe(this.scene);
    };
  }

  draw(s: Scene): void {
    this.scene = s;
    const { model, grid } = s;
    const bars = model.bestBars(this.symbol, grid);
    this.chart.setGrid(grid);
    this.chart.drawCandles(this.symbol, bars && versionOf(bars, `${bars.source}/${bars.intervalMs}`), () => (this.candles = bars!.candles(grid)));
    if (bars && this.candles.length) {
      const last = this.candles[this.candles.length - 1]!;
      const b = bars.last();
      if (b && Math.floor(b.ms / grid.stepMs) === last.slot) last.close = b.close;
    }
    const trade = model.trades.get(this.symbol);
    const bar = bars?.last();
    const tradeMs = trade ? Date.parse(trade.event_time) : 0;
    const barMs = bar && bars ? bar.ms + bars.intervalMs : 0;
    const price = tradeMs && tradeMs >= barMs - (bars?.intervalMs ?? 0) ? Number(trade!.price_usd ?? 0) : bar?.close;
    setText(this.price, usd(price, 2));
    const first = this.candles[0];
    const change = first && price !== undefined ? 100 * (price / first.open - 1) : undefined;
    setText(this.change, `${signedPercent(change)} in ${s.model.range.label}`);
    this.change.className = change !== undefined && change < 0 ? "warn" : "muted";
    showAge(this.card.age, Math.max(tradeMs, Math.min(barMs, s.nowMs)) || undefined, s.nowMs, 10 * 60_000);

    const halts = model.haltSpans(this.symbol);
    const halted = halts.find((h) => h.toMs === undefined);
    this.halt.hidden = !halted;
    setText(this.halt, halted ? `HALTED ${halted.text}` : "");
    const version = `${grid.from}/${grid.to}/${model.backdropVersion}/${bars?.source ?? ""}`;
    if (version !== this.backdrop) {
      this.backdrop = version;
      const slot = (ms: number) => Math.floor(ms / grid.stepMs);
      const spans: Span[] = model.sessionSpans(this.symbol, grid);
      for (const h of halts) spans.push({ from: slot(h.fromMs), to: slot(h.toMs ?? s.nowMs), kind: "halt" });
      if (bars) for (const g of model.holesOf(bars.source, this.symbol, s.nowMs)) spans.push({ from: slot(g.fromMs), to: slot(g.toMs), kind: "gap" });
      const marks = model.events.map((e, i) => ({ ...e, text: String(i + 1) })).filter((e) => e.symbol === this.symbol);
      const haltMarks = halts.map((h) => ({ slot: slot(h.fromMs), text: "H" }));
      this.chart.backdrop(spans, [...marks.map((e) => ({ slot: slot(e.ms), text: e.text })), ...haltMarks].filter((m) => m.slot >= grid.from && m.slot <= grid.to));
    }
    this.describe(s);
  }

  private describe(s: Scene): void {
    const c = this.slot === undefined ? this.candles[this.candles.length - 1] : this.candles.find((x) => x.slot <= this.slot! && this.slot! < x.slot + x.width);
    const bars = s.model.bestBars(this.symbol, s.grid);
    if (!c) {
      setText(this.legend, this.slot === undefined ? "no bars in this range" : `no bar at ${stamp(this.slot * s.grid.stepMs)} UTC`);
      return;
    }
    const ms = c.slot * s.grid.stepMs;
    const when = s.grid.stepMs >= 86_400_000 ? dateUTC(ms) : stamp(ms).slice(5, 16);
    setText(
      this.legend,
      `${when} O ${num(c.open, 2)} H ${num(c.high, 2)} L ${num(c.low, 2)} C ${num(c.close, 2)} V ${num(c.volume, 0)}` +
        `${c.session ? ` · ${c.session}` : ""} · ${bars?.source ?? ""}`,
    );
  }

  recolor(dark: boolean): void {
    this.chart.recolor(dark);
  }
}
