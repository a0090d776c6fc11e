import type { Interval } from "@hashpivot/client";

/** What the charts show at once: all of them have the same slots, so that one crosshair means one time in all panes. */
export interface Range {
  name: string;
  label: string;
  spanS: number;
  stepS: number;
  /** Bars that it is drawn of, the finest first. */
  bars: Interval[];
}

export const RANGES: readonly Range[] = [
  { name: "1h", label: "1 hour", spanS: 3600, stepS: 15, bars: ["1m"] },
  { name: "6h", label: "6 hours", spanS: 6 * 3600, stepS: 60, bars: ["1m"] },
  { name: "1d", label: "1 day", spanS: 86_400, stepS: 300, bars: ["1m"] },
  { name: "1w", label: "1 week", spanS: 7 * 86_400, stepS: 3600, bars: ["1h", "1d"] },
  { name: "1m", label: "1 month", spanS: 30 * 86_400, stepS: 4 * 3600, bars: ["1h", "1d"] },
  { name: "6m", label: "6 months", spanS: 182 * 86_400, stepS: 86_400, bars: ["1d"] },
  { name: "1y", label: "1 year", spanS: 365 * 86_400, stepS: 86_400, bars: ["1d"] },
  { name: "3y", label: "3 years", spanS: 1096 * 86_400, stepS: 3 * 86_400, bars: ["1d"] },
];

export function rangeNamed(name: string): Range {
  return RANGES.find((r) => r.name === name) ?? RANGES[2]!;
}

/** Slots from..to (inclusive) of stepMs each; a slot's number is its start over stepMs. */
export interface Grid {
  stepMs: number;
  from: number;
  to: number;
}

export function gridOf(range: Range, nowMs: number): Grid {
  const stepMs = range.stepS * 1000;
  const to = Math.floor(nowMs / stepMs);
  return { stepMs, to, from: to - Math.ceil(range.spanS / range.stepS) + 1 };
}

export const slotTime = (g: Grid, slot: number): number => (slot * g.stepMs) / 1000;
export const sameGrid = (a: Grid | undefined, b: Grid): boolean => a !== undefined && a.stepMs === b.stepMs && a.from === b.from && a.to === b.to;
