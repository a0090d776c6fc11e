import { dateUTC, stamp } from "../format.js";
import { SPEEDS, type View } from "../view.js";
import { el, setAttr, setText } from "./dom.js";

const DAY_S = 86_400;

export interface ReplayActions {
  /** Shows a moment of the past and plays on from it. */
  goTo(ms: number): void;
  goLive(): void;
  setPaused(paused: boolean): void;
  setSpeed(speed: number): void;
}

/** Scrubs through a day and plays it back. */
export class ReplayBar {
  private readonly live = el("button", { type: "button", title: "Back to live (l)" }, "Live");
  private readonly date = el("input", { type: "date", "aria-label": "Day to replay" });
  private readonly play = el("button", { type: "button", title: "Play or pause (space)" });
  private readonly slider = el("input", { type: "range", min: "0", max: String(DAY_S - 1), step: "1", "aria-label": "Time of the day, UTC" });
  private readonly moment = el("span", { class: "moment", role: "status", "aria-live": "off" });
  private readonly speed = el("select", { "aria-label": "Speed of the replay" }, ...SPEEDS.map((s) => el("option", { value: String(s) }, `×${s.toLocaleString("en-US")}`)));
  private dragging = false;

  constructor(
    private readonly root: HTMLElement,
    actions: ReplayActions,
    private readonly now: () => number,
  ) {
    this.live.addEventListener("click", () => actions.goLive());
    this.play.addEventListener("click", () => {
      if (this.root.hasAttribute("data-on")) actions.setPaused(this.play.dataset["paused"] !== "1");
      else actions.goTo(this.picked());
    });
    this.date.addEventListener("change", () => this.date.value && actions.goTo(this.picked()));
    this.slider.addEventListener("input", () => {
      this.dragging = true;
      setText(this.moment, `${stamp(this.picked())} UTC`);
    });
    this.slider.addEventListener("change", () => {
      this.dragging = false;
      actions.goTo(this.picked());
    });
    this.speed.addEventListener("change", () => actions.setSpeed(Number(this.speed.value)));
    root.append(this.live, el("span", { class: "muted" }, "Replay"), this.date, this.play, this.slider, this.moment, this.speed);
  }

  private picked(): number {
    const day = Date.parse(`${this.date.value || dateUTC(this.now() - DAY_S * 1000)}T00:00:00Z`);
    return day + Number(this.slider.value) * 1000;
  }

  draw(view: View, nowMs: number, serverNowMs: number, ended: boolean): void {
    const on = view.at !== undefined;
    this.root.toggleAttribute("data-on", on);
    document.body.toggleAttribute("data-replay", on);
    setAttr(this.live, "aria-pressed", String(!on));
    const paused = view.paused || ended;
    setText(this.play, !on ? "▶ Replay" : ended ? "■ End" : paused ? "▶ Play" : "❚❚ Pause");
    this.play.dataset["paused"] = paused ? "1" : "0";
    setAttr(this.date, "max", dateUTC(serverNowMs));
    if (this.speed.value !== String(view.speed)) {
      if (![...this.speed.options].some((o) => o.value === String(view.speed))) this.speed.append(el("option", { value: String(view.speed) }, `×${view.speed}`));
      this.speed.value = String(view.speed);
    }
    if (this.dragging || document.activeElement === this.date) return;
    setText(this.moment, on ? `${stamp(nowMs)} UTC` : "live");
    const day = dateUTC(nowMs);
    if (this.date.value !== day) this.date.value = day;
    this.slider.value = String(Math.floor((nowMs / 1000) % DAY_S));
    setAttr(this.slider, "aria-valuetext", `${stamp(nowMs)} UTC`);
  }
}
