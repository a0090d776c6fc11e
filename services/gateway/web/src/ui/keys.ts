export interface Keys {
  range(index: number): unknown;
  theme(): void;
  gpu(): void;
  cls(): void;
  replay(): void;
  live(): void;
  pause(): unknown;
  step(ms: number): void;
  faster(by: number): void;
  fit(): void;
  help(): void;
}

/** Listens for the keys that help lists, except while somebody writes or a control needs the key itself. */
export function onKeys(k: Keys): void {
  document.addEventListener("keydown", (ev) => {
    const t = ev.target as HTMLElement;
    if (ev.ctrlKey || ev.metaKey || ev.altKey || ev.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(t.tagName) || (t.tagName === "BUTTON" && (ev.key === " " || ev.key === "Enter"))) return;
    const step = ev.shiftKey ? 3_600_000 : 60_000;
    const run: Record<string, () => unknown> = {
      t: k.theme, g: k.gpu, c: k.cls, r: k.replay, l: k.live, f: k.fit, " ": k.pause, "?": k.help, "[": () => k.faster(-1), "]": () => k.faster(1),
      ArrowLeft: () => k.step(-step), ArrowRight: () => k.step(step),
    };
    const f = /^[1-9]$/.test(ev.key) ? () => k.range(Number(ev.key) - 1) : run[ev.key];
    if (!f) return;
    ev.preventDefault();
    f();
  });
}
