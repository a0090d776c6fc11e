import { expect, test } from "vitest";
import { RANGES, rangeNamed } from "../src/data/grid.js";
import { bucketOf, eventsOf, requests, shortestRange } from "../src/data/history.js";
import { Model } from "../src/data/model.js";
import { Points } from "../src/data/points.js";
import { DEFAULT } from "../src/view.js";

const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };
const now = Date.parse("2026-11-25T20:00:00Z");

test("a range is read in 500 to 1,500 buckets, none longer than a slot", () => {
  for (const r of RANGES) {
    const b = bucketOf(r);
    const s = Number(b.slice(0, -1)) * SECONDS[b.slice(-1)]!;
    expect(r.spanS / s, r.name).toBeGreaterThanOrEqual(500);
    expect(r.spanS / s, r.name).toBeLessThanOrEqual(1500);
    expect(s, r.name).toBeLessThanOrEqual(r.stepS);
  }
});

test("a range asks once for each thing, over its own span", () => {
  const all = requests(rangeNamed("1y"), DEFAULT, "s21-xp", now).map((q) => q.path);
  expect(new Set(all).size).toBe(all.length);
  expect(all.some((p) => p.startsWith("v1/series?channel=signals&symbol=mining-revenue-1d%2Fs21-xp&"))).toBe(true);
  expect(all.filter((p) => p.startsWith("v1/bars")).length).toBe(4);
  for (const p of all.filter((x) => /^v1\/(series|bars|gaps)/.test(x))) expect(new URLSearchParams(p.split("?")[1]).get("from")).toBe("2025-11-25T20:00:00.000Z");
});

test("percentiles join a rate only of the same moment", () => {
  const m = new Model(rangeNamed("1d"));
  const at = (min: number, value: string) => ({ time: `2026-11-25T19:${min}:00Z`, event_time: `2026-11-25T19:${min}:30Z`, source: "x", method: "gpu-wmedian/1", value });
  const answers: Record<string, object[]> = { usd_per_gpu_hour: [at(10, "2"), at(20, "3")], p10_usd_per_gpu_hour: [at(10, "1.5")], p90_usd_per_gpu_hour: [at(10, "2.5")] };
  for (const q of requests(m.range, DEFAULT, undefined, now)) {
    const p = new URLSearchParams(q.path.split("?")[1]);
    if (p.get("symbol") === "h100-sxm/on-demand") q.take(m, { points: answers[p.get("field")!] });
  }
  const line = m.points.get("rate/h100-sxm/on-demand/gpu-wmedian")!.line(m.grid(now));
  expect(line.map((p) => [p.value, p.lo, p.hi])).toEqual([[2, 1.5, 2.5], [3, undefined, undefined]]);
});

test("a hole of an input cuts a line where the line has nothing, and not where it went on", () => {
  const p = new Points(60_000, 60_000);
  for (const min of [1, 2, 3, 5]) p.add(min * 60_000, min);
  const silent = { fromMs: 3.2 * 60_000, toMs: 4.5 * 60_000 };
  expect(p.bare([{ fromMs: 90_000, toMs: 2.5 * 60_000 }, silent])).toEqual([silent]);
  expect(p.line({ stepMs: 60_000, from: 0, to: 6 }, p.bare([silent])).map((x) => x.cut)).toEqual([true, false, false, true]);
});

test("contracts and events are one list by date", () => {
  const list = eventsOf({ contracts: [{ symbol: "CORZ", signed: "2024-06-03", exact: true, title: "a" }], events: [{ date: "2024-04-20", kind: "halving", title: "b" }] });
  expect(list.map((e) => [e.symbol, e.kind, e.exact])).toEqual([["", "halving", false], ["CORZ", "ai-contract", true]]);
});

test("without a range in the link, the shortest that shows something", () => {
  const days = (n: number) => Array.from({ length: n }, (_, i) => now - (i + 1) * 86_400_000);
  const some = (n: number) => new Set(Array.from({ length: n }, (_, i) => String(i)));
  expect(shortestRange(some(30), [], now)).toBe("1d");
  expect(shortestRange(some(4), days(60), now)).toBe("1m");
  expect(shortestRange(some(4), days(60).slice(2), now)).toBe("6m");
  expect(shortestRange(some(4), days(5), now)).toBe("1d");
});
