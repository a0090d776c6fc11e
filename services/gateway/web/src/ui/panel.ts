import type { Grid } from "../data/grid.js";
import type { Model } from "../data/model.js";
import type { View } from "../view.js";
import { age } from "../format.js";
import { type Palette, palette } from "../chart/palette.js";
import { el, setText } from "./dom.js";

/** What a panel draws: one moment of the live market or of a replay. */
export interface Scene {
  model: Model;
  grid: Grid;
  nowMs: number;
  view: View;
  live: boolean;
  dark: boolean;
}

export interface Panel {
  readonly root: HTMLElement;
  draw(s: Scene): void;
  recolor(dark: boolean): void;
}

/** What panels ask of the page. */
export interface Actions {
  setGPU(gpu: string): void;
  setClass(cls: string): void;
  toggleCompare(id: string): void;
}

/** Writes the age of data, marked when it is older than it should be. */
export function showAge(e: HTMLElement, lastMs: number | undefined, nowMs: number, expectedMs: number): void {
  const a = lastMs ? nowMs - lastMs : undefined;
  setText(e, a === undefined ? "no data" : `age ${age(a)}`);
  e.toggleAttribute("data-old", a === undefined || a > expectedMs);
}

/** A legend entry: a piece of the line as it is drawn, a name and a value. */
export class Key {
  readonly root: HTMLElement;
  private readonly value = el("b");
  private readonly path: SVGPathElement;

  constructor(
    label: string,
    private readonly color: (p: Palette) => string,
    dash: readonly number[] = [],
    dark = true,
  ) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", "22");
    svg.setAttribute("height", "8");
    svg.setAttribute("aria-hidden", "true");
    this.path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    this.path.setAttribute("d", "M0 4H22");
    this.path.setAttribute("stroke-width", "2.5");
    if (dash.length) this.path.setAttribute("stroke-dasharray", dash.join(" "));
    svg.append(this.path);
    this.root = el("span", { class: "key" }, svg, label, this.value);
    this.recolor(dark);
  }

  set(text: string): void {
    setText(this.value, text);
  }

  recolor(dark: boolean): void {
    this.path.setAttribute("stroke", this.color(palette(dark)));
  }
}
