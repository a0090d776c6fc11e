import type { Gap } from "../data/model.js";
import { age, dateUTC, num, stamp } from "../format.js";
import { type Card, Table, card, el, setText } from "./dom.js";
import type { Panel, Scene } from "./panel.js";

const OPEN = new Set(["open", "partly", "given_up"]);

/** Health of each source: state, age, and its gaps over the range as gaps. */
export class FeedsPanel implements Panel {
  readonly root: HTMLElement;
  private readonly card: Card;
  private readonly table = new Table("Feeds", ["Source", "State", "Since", "Last data", "Gaps", "Missing in this range"]);
  private readonly strips = new Map<string, { root: HTMLElement; drawn: string }>();
  private readonly states = new Map<string, HTMLElement>();

  constructor() {
    this.card = card("feeds", "Feed health");
    this.root = this.card.root;
    this.card.body.append(this.table.root);
  }

  draw(s: Scene): void {
    const sources = [...new Set([...s.model.feeds.keys(), ...[...s.model.gaps.values()].map((g) => g.source)])].sort();
    let bad = 0;
    this.table.set(
      sources.map((source) => {
        const f = s.model.feeds.get(source);
        const gaps = [...s.model.gaps.values()].filter((g) => g.source === source);
        const missing = gaps.filter((g) => OPEN.has(g.state)).length;
        if ((f && f.state !== "connected") || missing) bad++;
        const last = s.model.lastOf.get(source);
        return {
          key: source,
          cells: [
            source, this.state(source, f?.state ?? "not told", f?.detail ?? ""), f ? age(s.nowMs - f.sinceMs) : "–", last ? age(s.nowMs - last) : "–",
            missing ? `${missing} of ${gaps.length}` : String(gaps.length), this.strip(source, gaps, s),
          ],
        };
      }),
    );
    setText(this.card.age, bad ? `${bad} of ${sources.length} need a look` : `${sources.length} sources, nothing missing`);
    this.card.age.toggleAttribute("data-old", bad > 0);
  }

  private state(source: string, state: string, detail: string): HTMLElement {
    let e = this.states.get(source);
    if (!e) this.states.set(source, (e = el("span", { class: "state" })));
    setText(e, state);
    e.dataset["state"] = state;
    e.title = detail;
    return e;
  }

  /** The range as a strip: hatched where something is missing, grey where it was recovered. */
  private strip(source: string, gaps: readonly Gap[], s: Scene): HTMLElement {
    let strip = this.strips.get(source);
    if (!strip) this.strips.set(source, (strip = { root: el("span", { class: "strip", role: "img" }), drawn: "" }));
    const from = s.grid.from * s.grid.stepMs;
    const span = (s.grid.to + 1) * s.grid.stepMs - from;
    const parts = gaps.flatMap((g) => {
      const a = Math.max(0, ((g.fromMs ?? g.toldMs) - from) / span);
      const b = Math.min(1, ((g.toMs ?? s.nowMs) - from) / span);
      // What was fetched when the feed began is history, not an outage.
      return b > a && b > 0 && a < 1 && !(g.state === "filled" && g.reason === "history") ? [{ a, b, filled: g.state === "filled" }] : [];
    });
    const drawn = `${s.grid.from}/${parts.map((p) => `${p.a.toFixed(3)}${p.b.toFixed(3)}${p.filled}`).join()}`;
    if (drawn !== strip.drawn) {
      strip.drawn = drawn;
      strip.root.replaceChildren(
        ...parts.map((p) => {
          const i = el("i", { class: p.filled ? "filled" : "gap" });
          i.style.left = `${100 * p.a}%`;
          i.style.width = `${100 * (p.b - p.a)}%`;
          return i;
        }),
      );
      strip.root.setAttribute("aria-label", `${parts.filter((p) => !p.filled).length} gaps, ${parts.filter((p) => p.filled).length} recovered, in ${s.model.range.label}`);
    }
    return strip.root;
  }

  recolor(): void {}
}

/** The ledger of gaps, newest first. */
export class GapsPanel implements Panel {
  readonly root: HTMLElement;
  private readonly card: Card;
  private readonly table = new Table("Gap ledger", ["Source", "Symbol", "From, UTC", "To, UTC", "Long", "State", "Recovered", "Reason"]);
  private drawn = -1;

  constructor() {
    this.card = card("gaps", "Gap ledger");
    this.root = this.card.root;
    this.card.body.append(this.table.root);
  }

  draw(s: Scene): void {
    if (this.drawn === s.model.backdropVersion) return;
    this.drawn = s.model.backdropVersion;
    const gaps = [...s.model.gaps.values()].sort((a, b) => (b.fromMs ?? b.toldMs) - (a.fromMs ?? a.toldMs)).slice(0, 200);
    setText(this.card.age, `${gaps.filter((g) => OPEN.has(g.state)).length} not filled of ${gaps.length}`);
    this.table.set(
      gaps.map((g) => ({
        key: `${g.source}/${g.id}`,
        class: OPEN.has(g.state) ? "warn" : "",
        cells: [
          g.source, g.symbol, g.fromMs ? stamp(g.fromMs) : "unknown", g.toMs === undefined ? "open" : dateUTC(g.toMs) === dateUTC(g.fromMs ?? 0) ? stamp(g.toMs).slice(11) : stamp(g.toMs),
          g.fromMs ? age((g.toMs ?? s.nowMs) - g.fromMs) : "–", g.state.replace("_", " "), num(g.recovered, 0), g.reason,
        ],
      })),
    );
  }

  recolor(): void {}
}
