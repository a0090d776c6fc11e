import { expect, test } from "vitest";
import { Bars } from "../src/data/bars.js";
import { gridOf, rangeNamed } from "../src/data/grid.js";
import { Points } from "../src/data/points.js";
import { rebase } from "../src/ui/compare.js";

const MINUTE = 60_000;
const range = rangeNamed("6h");
const now = Date.parse("2026-11-25T20:00:00Z");
const grid = gridOf(range, now);

test("a grid has the slots of its range, the present in the last", () => {
  expect(grid.to - grid.from + 1).toBe(360);
  expect(grid.to).toBe(Math.floor(now / MINUTE));
});

test("a line ends where data ends: it is cut beyond thrice the cadence, and joined below", () => {
  const p = new Points(MINUTE, MINUTE);
  for (const m of [0, 1, 2, 5, 10]) p.add(now - 60 * MINUTE + m * MINUTE, m);
  expect(p.line(grid).map((x) => [x.value, x.cut])).toEqual([[0, true], [1, false], [2, false], [5, false], [10, true]]);
});

test("a line is cut where the ledger has a hole, however short", () => {
  const p = new Points(MINUTE, MINUTE);
  const t = now - 60 * MINUTE;
  for (const m of [0, 1, 2]) p.add(t + m * MINUTE, m);
  expect(p.line(grid, [{ fromMs: t + 1.2 * MINUTE, toMs: t + 1.8 * MINUTE }]).map((x) => x.cut)).toEqual([true, false, true]);
  expect(p.line(grid, [{ fromMs: t - 9 * MINUTE, toMs: t - MINUTE }]).map((x) => x.cut)).toEqual([true, false, false]);
});

test("of a slot the latest value counts, whatever comes late or twice", () => {
  const p = new Points(MINUTE, MINUTE);
  const t = grid.to * MINUTE;
  p.add(t + 2000, 2);
  p.add(t + 1000, 1);
  p.add(t + 2000, 3);
  expect(p.line(grid).map((x) => x.value)).toEqual([3]);
  const { structure } = p;
  p.add(t + 3000, 4);
  expect(p.structure).toBe(structure); // only the last slot changed: the chart need not be set anew
});

test("what is no number is no point", () => {
  const p = new Points(MINUTE, MINUTE);
  p.add(NaN, 1);
  p.add(now, NaN);
  expect(p.size).toBe(0);
});

test("bars of a slot become one, the greatest revision holds, a withdrawn bar goes", () => {
  const day = gridOf(rangeNamed("1d"), now);
  const b = new Bars(day.stepMs, "1m", "sim-alpaca");
  const bar = (minute: number, rev: number, close: string, extra = {}) =>
    b.add({
      type: "bar", cursor: "BARS:1:0", symbol: "CORZ", interval: "1m", source: "sim-alpaca", event_time: new Date(day.to * day.stepMs - 300_000 + minute * MINUTE).toISOString(),
      open_usd: "10", high_usd: "12", low_usd: "9", close_usd: close, volume: "5", trade_count: 1, rev, ...extra,
    });
  bar(0, 0, "10");
  bar(1, 1, "11.5");
  bar(1, 0, "99"); // an older telling that came late
  expect(b.candles(day)).toMatchObject([{ open: 10, high: 12, low: 9, close: 11.5, volume: 10 }]);
  bar(1, 2, "11.5", { method: "alpaca-conditions/1", trade_count: 0, volume: "0" });
  expect(b.candles(day)).toMatchObject([{ close: 10, volume: 5 }]);
});

test("rebasing makes the first visible value 100 and keeps cuts", () => {
  const points = [{ slot: 1, value: 4, cut: true }, { slot: 2, value: 5, cut: false }, { slot: 5, value: 10, cut: true }];
  expect(rebase(points, 2)).toEqual([{ slot: 1, value: 80, cut: true }, { slot: 2, value: 100, cut: false }, { slot: 5, value: 200, cut: true }]);
  expect(rebase(points, 9)).toEqual([]);
});
