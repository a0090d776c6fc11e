import { type Sync, TimeChart } from "../chart/timechart.js";
import { num, stamp, usd } from "../format.js";
import { type Card, card, el, setText } from "./dom.js";
import { type Actions, Key, type Panel, type Scene, showAge } from "./panel.js";

const DAILY = "-1d";

/** The pivot at a glance: what a megawatt-hour earns with AI over what it earns with mining. */
export class PivotPanel implements Panel {
  readonly root: HTMLElement;
  private readonly card: Card;
  private readonly gpus = el("select", { "aria-label": "GPU model" });
  private readonly premium = el("div", { class: "premium" });
  private readonly sentence = el("p", { class: "muted" });
  private readonly ai = el("strong");
  private readonly mining = el("strong");
  private readonly breakEven = el("dd", { class: "big" });
  private readonly hashprice = el("dd", { class: "big" });
  private readonly spread = el("dd");
  private readonly method = el("dd");
  private readonly chart: TimeChart;
  private readonly keys: Record<string, Key>;
  private slot: number | undefined;
  private scene: Scene | undefined;
  private options = "";
  private backdrop = "";

  constructor(sync: Sync, actions: Actions, dark: boolean) {
    this.card = card("pivot", "The pivot: a megawatt-hour of AI over one of mining", this.gpus);
    this.root = this.card.root;
    this.gpus.addEventListener("change", () => actions.setGPU(this.gpus.value));
    this.keys = {
      premium: new Key("premium ×", (p) => p.ai, [], dark),
      ai: new Key("AI $/MWh", (p) => p.ai, [6, 3], dark),
      mining: new Key("mining $/MWh", (p) => p.mining, [], dark),
    };
    const host = el("div", { class: "chart", role: "img", "aria-label": "Premium, and revenue per megawatt-hour of AI and of mining, over time" });
    const item = (name: string, dd: HTMLElement) => el("div", {}, el("dt", {}, name), dd);
    this.card.body.append(
      el(
        "div", {},
        this.premium, this.sentence,
        el(
          "div", { class: "versus" },
          el("div", {}, el("span", {}, "AI, $/MWh"), this.ai),
          el("div", { class: "m" }, el("span", {}, "Mining, $/MWh"), this.mining),
        ),
        el(
          "dl", {},
          item("Break-even hashprice, $/PH/s/day", this.breakEven), item("Hashprice now", this.hashprice),
          item("Spread, $/MWh", this.spread), item("Method", this.method),
        ),
      ),
      el("div", {}, el("div", { class: "legend" }, ...Object.values(this.keys).map((k) => k.root)), host),
    );
    this.chart = new TimeChart(host, sync, dark, { panes: 2, log: [1] });
    for (const suffix of [DAILY, ""]) {
      const dash = suffix ? [2, 3] : [];
      this.chart.line(`pivot-premium${suffix}`, { style: (p) => ({ color: p.ai, lineWidth: suffix ? 1.5 : 2, dash, lastValueVisible: !suffix }) });
      this.chart.line(`gpu-revenue${suffix}`, { pane: 1, style: (p) => ({ color: p.ai, dash: suffix ? dash : [6, 3], lastValueVisible: !suffix }) });
      this.chart.line(`mining-revenue${suffix}`, { pane: 1, style: (p) => ({ color: p.mining, dash, lastValueVisible: !suffix }) });
    }
    this.chart.chart.panes()[0]?.setStretchFactor(3);
    this.chart.chart.panes()[1]?.setStretchFactor(2);
    this.chart.onPoint = (slot) => {
      this.slot = slot;
      if (this.scene) this.legend(this.scene);
    };
  }

  draw(s: Scene): void {
    this.scene = s;
    const { model, view } = s;
    const models = [...model.signals.keys()].filter((k) => k.startsWith("pivot-premium/")).map((k) => k.slice("pivot-premium/".length)).sort();
    if (!models.includes(view.gpu)) models.unshift(view.gpu);
    if (this.options !== models.join()) {
      this.options = models.join();
      this.gpus.replaceChildren(...models.map((g) => el("option", { value: g }, g)));
    }
    if (this.gpus.value !== view.gpu) this.gpus.value = view.gpu;

    const of = (name: string) => {
      const live = model.signals.get(`${name}/${view.gpu}`) ?? model.signals.get(`${name}${DAILY}/${view.gpu}`);
      return live ? Number(live.value ?? 0) : undefined;
    };
    const fleet = fleetOf(s);
    const miningSignal = fleet === undefined ? undefined : model.signals.get(`mining-revenue/${fleet}`) ?? model.signals.get(`mining-revenue${DAILY}/${fleet}`);
    const mining = miningSignal ? Number(miningSignal.value ?? 0) : undefined;
    const premium = of("pivot-premium");
    const ai = of("gpu-revenue");
    const breakEven = of("break-even-hashprice");
    this.premium.replaceChildren(premium === undefined ? "–" : num(premium, premium < 10 ? 2 : 1), el("small", {}, " ×"));
    setText(
      this.sentence,
      premium === undefined ? "No value yet: it needs a hashprice and a GPU rate, both not older than 15 minutes."
        : premium >= 1 ? `A megawatt-hour earns ${num(premium, 1)} times as much with ${view.gpu} as with mining.`
          : `A megawatt-hour earns more with mining than with ${view.gpu}.`,
    );
    setText(this.ai, usd(ai, 0));
    setText(this.mining, usd(mining, 2));
    setText(this.breakEven, usd(breakEven, 2));
    const tip = model.hashprices.get("tip144") ?? model.hashprices.get("daily");
    setText(this.hashprice, usd(tip ? Number(tip.hashprice_usd ?? 0) : undefined, 2));
    setText(this.spread, usd(of("pivot-spread"), 2));
    const signal = model.signals.get(`pivot-premium/${view.gpu}`) ?? model.signals.get(`pivot-premium${DAILY}/${view.gpu}`);
    setText(this.method, [signal?.inputs?.["method"], signal?.source].filter(Boolean).join(" · ") || "–");
    if (signal?.inputs) this.method.title = Object.entries(signal.inputs).map(([k, v]) => `${k} = ${v}`).join("\n");
    showAge(this.card.age, signal ? Date.parse(signal.event_time) : undefined, s.nowMs, 5 * 60_000);

    this.chart.setGrid(s.grid);
    for (const suffix of ["", DAILY]) {
      for (const [id, key] of [["pivot-premium", view.gpu], ["gpu-revenue", view.gpu], ["mining-revenue", fleet ?? ""]] as const) {
        const points = model.points.get(`signal/${id}${suffix}/${key}`);
        this.chart.drawLine(id + suffix, points && versionOf(points, key, model.backdropVersion), () =>
          points!.line(s.grid, points!.bare(model.holesBehind(model.signals.get(`${id}${suffix}/${key}`), s.nowMs))),
        );
      }
    }
    const marks = model.events.filter((e) => e.symbol === "").map((e) => ({ slot: Math.floor(e.ms / s.grid.stepMs), text: e.kind.slice(0, 1).toUpperCase() }));
    const backdrop = `${s.grid.from}/${model.backdropVersion}`;
    if (backdrop !== this.backdrop) this.chart.backdrop([], marks);
    this.backdrop = backdrop;
    this.legend(s);
  }

  private legend(s: Scene): void {
    const at = (id: string) => this.chart.valueAt(id, this.slot!) ?? this.chart.valueAt(id + DAILY, this.slot!);
    if (this.slot === undefined) for (const k of Object.values(this.keys)) k.set("");
    else {
      this.keys["premium"]!.set(`${num(at("pivot-premium"), 2)} at ${stamp(this.slot * s.grid.stepMs)}`);
      this.keys["ai"]!.set(usd(at("gpu-revenue"), 0));
      this.keys["mining"]!.set(usd(at("mining-revenue"), 2));
    }
  }

  recolor(dark: boolean): void {
    this.chart.recolor(dark);
    for (const k of Object.values(this.keys)) k.recolor(dark);
  }
}

/** The fleet that mining revenue is told of; there is one unless somebody configures another beside it. */
function fleetOf(s: Scene): string | undefined {
  let daily: string | undefined;
  for (const k of s.model.signals.keys()) {
    if (k.startsWith("mining-revenue/")) return k.slice("mining-revenue/".length);
    if (k.startsWith(`mining-revenue${DAILY}/`)) daily = k.slice(`mining-revenue${DAILY}/`.length);
  }
  return daily;
}

/** A version that differs when another series takes the place. */
export function versionOf(v: { structure: number; version: number }, key: string, extra = 0): { structure: number; version: number } {
  let h = extra;
  for (let i = 0; i < key.length; i++) h = (h * 31 + key.charCodeAt(i)) | 0;
  return { structure: v.structure * 4096 + (Math.abs(h) % 4096), version: v.version };
}
