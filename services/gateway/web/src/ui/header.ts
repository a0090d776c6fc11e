import type { State } from "@hashpivot/client";
import { RANGES } from "../data/grid.js";
import { age, clockNewYork, stamp } from "../format.js";
import type { View } from "../view.js";
import { el, setAttr, setText } from "./dom.js";

const MODES: Record<string, string> = { sim: "SIMULATED", recorded: "RECORDED", live: "LIVE DATA" };

export interface HeaderActions {
  setRange(name: string): void;
  switchTheme(): void;
  help(): void;
  reconnect(): void;
}

/** Name, mode, connection, clock, age, range, theme. */
export class Header {
  private readonly mode = el("span", { class: "mode", role: "status", hidden: true });
  private readonly words = el("span");
  private readonly again = el("button", { type: "button", hidden: true }, "Connect now");
  private readonly conn = el("span", { class: "conn", role: "status", "aria-live": "polite" }, el("i", { "aria-hidden": "true" }), this.words, this.again);
  private readonly clock = el("span", { class: "clock muted", title: "UTC; New York" });
  private readonly age = el("span", { class: "age" });
  private readonly ranges = new Map<string, HTMLButtonElement>();
  private readonly theme = el("button", { type: "button", title: "Light or dark (t)" });

  constructor(root: HTMLElement, actions: HeaderActions) {
    const ranges = el("div", { class: "group", role: "group", "aria-label": "Range" });
    for (const r of RANGES) {
      const b = el("button", { type: "button", title: r.label, onclick: () => actions.setRange(r.name) }, r.name);
      this.ranges.set(r.name, b);
      ranges.append(b);
    }
    this.theme.addEventListener("click", () => actions.switchTheme());
    this.again.addEventListener("click", () => actions.reconnect());
    root.append(
      el("h1", {}, "hash", el("span", {}, "pivot")), this.mode, this.conn, this.age, el("span", { class: "spring" }), this.clock, ranges, this.theme,
      el("button", { type: "button", title: "Keys (?)", "aria-label": "Keyboard shortcuts", onclick: () => actions.help() }, "?"),
    );
  }

  draw(state: State, mode: string | undefined, view: View, nowMs: number, lastMs: number, dark: boolean): void {
    if (mode) {
      setText(this.mode, MODES[mode] ?? mode.toUpperCase());
      setAttr(this.mode, "data-mode", mode);
      this.mode.hidden = false;
    }
    setAttr(this.conn, "data-phase", state.phase);
    const delay = state.delayMs ? ` in ${Math.ceil(state.delayMs / 1000)} s` : "";
    setText(
      this.words,
      state.phase === "open" ? "connected" : state.phase === "connecting" ? "connecting" : state.phase === "waiting" ? `connection lost (${state.code}), again${delay}` : `disconnected: ${state.code} ${state.reason ?? ""}`,
    );
    this.again.hidden = state.phase !== "closed" && state.phase !== "waiting";
    setText(this.clock, `${stamp(nowMs)} UTC · ${clockNewYork(nowMs)} New York`);
    setText(this.age, lastMs ? `newest data ${age(nowMs - lastMs)}` : "no data yet");
    this.age.toggleAttribute("data-old", !lastMs || nowMs - lastMs > 60_000);
    for (const [name, b] of this.ranges) setAttr(b, "aria-pressed", String(name === view.range));
    setText(this.theme, dark ? "☾ dark" : "☀ light");
    setAttr(this.theme, "aria-label", dark ? "Theme: dark. Switch to light" : "Theme: light. Switch to dark");
  }
}
