import { dateUTC } from "../format.js";
import { type Card, Table, card, setText } from "./dom.js";
import type { Panel, Scene } from "./panel.js";

/** AI contracts and what else the charts mark, with its number on the charts. */
export class EventsPanel implements Panel {
  readonly root: HTMLElement;
  private readonly card: Card;
  private readonly table = new Table("Events", ["No.", "Date", "Symbol", "Kind", "What"]);
  private shown: unknown;

  constructor() {
    this.card = card("events", "AI contracts and other events");
    this.root = this.card.root;
    this.table.root.classList.add("wrap");
    this.card.body.append(this.table.root);
  }

  draw(s: Scene): void {
    if (this.shown === s.model.events) return;
    this.shown = s.model.events;
    const rows = s.model.events.map((e, i) => ({
      key: `${i}`,
      cells: [String(i + 1), (e.exact ? "" : "about ") + dateUTC(e.ms), e.symbol || "network", e.kind, e.title],
    }));
    setText(this.card.age, `${rows.length} events`);
    this.table.set(rows.reverse());
  }

  recolor(): void {}
}
