import { el } from "./dom.js";

const KEYS: readonly (readonly [string, string])[] = [
  ["1 – 8", "range: an hour to three years"], ["g", "next GPU model"], ["c", "next class of rental"], ["t", "light or dark"], ["r", "replay from a day ago"],
  ["space", "play or pause"], ["← →", "a minute back or on (with shift an hour)"], ["[ ]", "slower, faster"], ["l", "back to live"], ["f", "whole range again"], ["?", "these keys"],
];

/** The keys, in a dialog. */
export function helpDialog(): HTMLDialogElement {
  const close = el("button", { type: "button" }, "Close");
  const d = el(
    "dialog", { "aria-labelledby": "help-title" },
    el("h2", { id: "help-title" }, "Keyboard"),
    el("dl", {}, ...KEYS.flatMap(([k, what]) => [el("dt", {}, ...k.split(" ").map((x) => (x === "–" ? " – " : el("kbd", {}, x)))), el("dd", {}, what)])),
    el("p", { class: "muted" }, "The address in the browser's bar reproduces what you see: range, model, comparison, theme, moment of the replay. Drag and wheel move and zoom all charts together."),
    close,
  );
  close.addEventListener("click", () => d.close());
  return d;
}
