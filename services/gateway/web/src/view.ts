import { RANGES } from "./data/grid.js";

/** What a link reproduces. */
export interface View {
  range: string;
  gpu: string;
  cls: string;
  compare: string[];
  theme: "auto" | "light" | "dark";
  /** Moment of a replay, ms; undefined: live. */
  at?: number;
  speed: number;
  paused: boolean;
}

export const SPEEDS = [1, 10, 60, 300, 1000, 10_000] as const;

export const DEFAULT: View = { range: "1d", gpu: "h100-sxm", cls: "on-demand", compare: ["CORZ", "IREN", "BTBT", "WGMI", "hashprice"], theme: "auto", speed: 60, paused: false };

const WORD = /^[A-Za-z0-9:./-]{1,64}$/;

/** Reads what toHash writes; whatever does not fit is left at its default, since links are typed and cut. */
export function fromHash(hash: string): View {
  const p = new URLSearchParams(hash.replace(/^#/, ""));
  const v: View = { ...DEFAULT, compare: [...DEFAULT.compare] };
  const range = p.get("range");
  if (range && RANGES.some((r) => r.name === range)) v.range = range;
  const gpu = p.get("gpu");
  if (gpu && WORD.test(gpu)) v.gpu = gpu;
  const cls = p.get("class");
  if (cls && WORD.test(cls)) v.cls = cls;
  const compare = p.get("compare");
  if (compare !== null) v.compare = [...new Set(compare.split(",").filter((s) => WORD.test(s)))].slice(0, 8);
  const theme = p.get("theme");
  if (theme === "light" || theme === "dark") v.theme = theme;
  const at = Date.parse(p.get("at") ?? "");
  if (Number.isFinite(at)) v.at = at;
  const speed = Number(p.get("speed"));
  if (speed >= 0.1 && speed <= 10_000) v.speed = speed;
  v.paused = v.at !== undefined && p.get("paused") === "1";
  return v;
}

export function toHash(v: View): string {
  const p: string[] = [];
  const put = (k: string, s: string) => p.push(`${k}=${encodeURIComponent(s).replace(/%2C/g, ",").replace(/%3A/g, ":").replace(/%2F/g, "/")}`);
  put("range", v.range);
  put("gpu", v.gpu);
  put("class", v.cls);
  put("compare", v.compare.join(","));
  if (v.theme !== "auto") put("theme", v.theme);
  if (v.at !== undefined) {
    put("at", new Date(v.at).toISOString().slice(0, 19) + "Z");
    put("speed", String(v.speed));
    if (v.paused) put("paused", "1");
  }
  return "#" + p.join("&");
}
