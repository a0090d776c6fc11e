type Child = Node | string | null | undefined;

/** An element with attributes; `class` and `text` are what they say, on… are listeners. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K, attrs: Record<string, string | boolean | ((ev: any) => void)> = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs)) {
    if (typeof v === "function") e.addEventListener(k.slice(2), v);
    else if (v === true) e.setAttribute(k, "");
    else if (v !== false) e.setAttribute(k, v);
  }
  e.append(...children.filter((c): c is Node | string => c !== null && c !== undefined));
  return e;
}

/** Writes only what differs: layout is not disturbed twenty times a second for the same text. */
export function setText(e: Element, text: string): void {
  if (e.textContent !== text) e.textContent = text;
}

export function setAttr(e: Element, name: string, value: string): void {
  if (e.getAttribute(name) !== value) e.setAttribute(name, value);
}

/** A titled card with a place for the age of its data. */
export interface Card {
  root: HTMLElement;
  title: HTMLElement;
  age: HTMLElement;
  body: HTMLElement;
}

export function card(id: string, title: string, ...tools: Child[]): Card {
  const h = el("h2", { id: `${id}-title` }, title);
  const age = el("span", { class: "age", title: "age of the newest data" });
  const body = el("div", { class: "body" });
  const root = el("section", { class: "card", id, "aria-labelledby": `${id}-title` }, el("div", { class: "card-head" }, h, ...tools, age), body);
  return { root, title: h, age, body };
}

/** Rows of a table kept by key, so that a change touches only its cells. */
export class Table {
  readonly root: HTMLTableElement;
  private readonly body: HTMLTableSectionElement;
  private readonly rows = new Map<string, HTMLTableRowElement>();

  constructor(caption: string, heads: readonly string[]) {
    this.body = el("tbody");
    this.root = el(
      "table", {}, el("caption", { class: "sr" }, caption),
      el("thead", {}, el("tr", {}, ...heads.map((h) => el("th", { scope: "col" }, h)))), this.body,
    );
  }

  set(rows: readonly { key: string; cells: readonly (string | Node)[]; class?: string }[]): void {
    const wanted = new Set(rows.map((r) => r.key));
    for (const [key, tr] of this.rows) {
      if (!wanted.has(key)) {
        tr.remove();
        this.rows.delete(key);
      }
    }
    let before: Element | null = null;
    for (const r of rows) {
      let tr = this.rows.get(r.key);
      if (!tr) {
        tr = el("tr", {}, ...r.cells.map((_, i) => (i === 0 ? el("th", { scope: "row" }) : el("td"))));
        this.rows.set(r.key, tr);
      }
      if (tr.className !== (r.class ?? "")) tr.className = r.class ?? "";
      for (const [i, c] of r.cells.entries()) {
        const cell = tr.children[i];
        if (!cell) continue;
        if (typeof c === "string") setText(cell, c);
        else if (cell.firstChild !== c) cell.replaceChildren(c);
      }
      const next: Element | null = before ? before.nextElementSibling : this.body.firstElementChild;
      if (next !== tr) this.body.insertBefore(tr, next);
      before = tr;
    }
  }
}
