import { DASHES } from "../chart/palette.js";
import { type Sync, TimeChart } from "../chart/timechart.js";
import { compact, num, stamp, usd } from "../format.js";
import { type Card, card, el, setText } from "./dom.js";
import { Key, type Panel, type Scene, showAge } from "./panel.js";
import { versionOf } from "./pivot.js";

/** Whose hashprice, in the order of the legend; ours first. */
const METHODS = [
  { id: "tip144", label: "ours, live", color: 0 }, { id: "daily", label: "ours, daily", color: 1 },
  { id: "luxor", label: "Luxor", color: 2 }, { id: "braiins", label: "Braiins", color: 4 }, { id: "coinmetrics-daily", label: "Coin Metrics", color: 5 },
] as const;

/** The hashprice with what it is made of. */
export class HashpricePanel implements Panel {
  readonly root: HTMLElement;
  private readonly card: Card;
  private readonly big = el("span", { class: "big" });
  private readonly parts = new Map<string, HTMLElement>();
  private readonly keys = new Map<string, Key>();
  private readonly chart: TimeChart;
  private slot: number | undefined;
  private scene: Scene | undefined;

  constructor(sync: Sync, dark: boolean) {
    this.card = card("hashprice", "Hashprice, $/PH/s/day");
    this.root = this.card.root;
    const legend = el("div", { class: "legend" });
    const host = el("div", { class: "chart", role: "img", "aria-label": "Hashprice over time, ours and what others publish" });
    const parts = el("dl");
    for (const name of ["BTC-USD", "Difficulty", "Subsidy, BTC/block", "Mean fees, BTC/block", "Fees of the reward", "Network, EH/s", "Height", "Satoshi/PH/s/day", "Source"]) {
      const dd = el("dd");
      this.parts.set(name, dd);
      parts.append(el("div", {}, el("dt", {}, name), dd));
    }
    this.card.body.append(this.big, legend, host, parts);
    this.chart = new TimeChart(host, sync, dark);
    for (const m of [...METHODS].reverse()) {
      const ours = m.id === "tip144";
      this.chart.line(m.id, { style: (p) => ({ color: p.lines[m.color]!, dash: DASHES[m.color]!, lineWidth: ours ? 2 : 1.5, lastValueVisible: ours }) });
    }
    for (const m of METHODS) {
      const key = new Key(m.label, (p) => p.lines[m.color]!, DASHES[m.color], dark);
      this.keys.set(m.id, key);
      legend.append(key.root);
    }
    this.chart.onPoint = (slot) => {
      this.slot = slot;
      if (this.scene) this.legend(this.scene);
    };
  }

  draw(s: Scene): void {
    this.scene = s;
    const h = s.model.hashprices.get("tip144") ?? s.model.hashprices.get("daily");
    const subsidy = Number(h?.subsidy_sat ?? 0) / 1e8;
    const fees = Number(h?.mean_fees_sat ?? 0) / 1e8;
    setText(this.big, usd(h ? Number(h.hashprice_usd ?? 0) : undefined, 3));
    const put = (name: string, text: string) => setText(this.parts.get(name)!, h ? text : "–");
    put("BTC-USD", usd(Number(h?.btc_usd ?? 0), 2));
    put("Difficulty", compact(Number(h?.difficulty ?? 0)));
    put("Subsidy, BTC/block", num(subsidy, 3, 4));
    put("Mean fees, BTC/block", `${num(fees, 4)} (${h?.fee_window_blocks ?? 0} blocks)`);
    put("Fees of the reward", `${num((100 * fees) / (subsidy + fees || 1), 2)} %`);
    put("Network, EH/s", num(Number(h?.network_ehs ?? 0), 1));
    put("Height", num(h?.height ?? 0, 0));
    put("Satoshi/PH/s/day", num(Number(h?.hashprice_sat ?? 0), 0));
    put("Source", [h?.btc_usd_source, h?.inputs?.["chain.source"]].filter(Boolean).join(" · ") || (h?.source ?? ""));
    showAge(this.card.age, h ? Date.parse(h.event_time) : undefined, s.nowMs, 3 * 60_000);
    this.chart.setGrid(s.grid);
    for (const m of METHODS) {
      const points = s.model.points.get(`hashprice/${m.id}`);
      this.chart.drawLine(m.id, points && versionOf(points, m.id, s.model.backdropVersion), () =>
        points!.line(s.grid, points!.bare(s.model.holesBehind(s.model.hashprices.get(m.id), s.nowMs))),
      );
      this.keys.get(m.id)!.root.hidden = !points;
    }
    this.legend(s);
  }

  private legend(s: Scene): void {
    for (const m of METHODS) {
      const last = s.model.hashprices.get(m.id);
      const v = this.slot === undefined ? (last ? Number(last.hashprice_usd ?? 0) : undefined) : this.chart.valueAt(m.id, this.slot);
      this.keys.get(m.id)!.set(num(v, 2) + (this.slot !== undefined && m.id === "tip144" ? ` at ${stamp(this.slot * s.grid.stepMs)}` : ""));
    }
  }

  recolor(dark: boolean): void {
    this.chart.recolor(dark);
    for (const k of this.keys.values()) k.recolor(dark);
  }
}
