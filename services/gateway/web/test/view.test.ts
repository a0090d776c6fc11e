import { expect, test } from "vitest";
import { age } from "../src/format.js";
import { Model, isHalt } from "../src/data/model.js";
import { rangeNamed } from "../src/data/grid.js";
import { DEFAULT, type View, fromHash, toHash } from "../src/view.js";

test("a link reproduces the view", () => {
  const v: View = { range: "1w", gpu: "b200", cls: "interruptible", compare: ["CORZ", "gpu"], theme: "light", at: Date.parse("2026-11-24T15:30:00Z"), speed: 300, paused: true };
  expect(fromHash(toHash(v))).toEqual(v);
  expect(fromHash(toHash(DEFAULT))).toEqual(DEFAULT);
  expect(fromHash(toHash({ ...DEFAULT, compare: [] })).compare).toEqual([]);
});

test("a link that somebody broke shows what it still says", () => {
  expect(fromHash("#range=9y&gpu=<b>&class=&at=yesterday&speed=-1&theme=blue&paused=1&x=%E0%A4%A")).toEqual(DEFAULT);
});

test("ages are as short as can be", () => {
  expect([0, -5, 99_400, 6_000_000, 90_000_000, 9e9].map(age)).toEqual(["0 s", "0 s", "99 s", "100 min", "25 h", "104 d"].map((x, i) => (i === 3 ? "2 h" : x)));
  expect(age(undefined)).toBe("–");
});

const row = (n: number) => ({ cursor: `FEEDS:${n}:0`, event_time: `2026-11-25T20:00:0${n}Z` });

test("only what the ledger does not call filled is a hole, of its source and of ours made from it", () => {
  const m = new Model(rangeNamed("6h"));
  const gap = { type: "feed_gap" as const, source: "sim-alpaca", gap_id: "1", symbol: "*", from_time: "2026-11-25T19:00:00Z" };
  m.ingest({ ...gap, ...row(1), state: "open" });
  const now = Date.parse("2026-11-25T20:00:00Z");
  const from = Date.parse(gap.from_time);
  expect(m.holesOf("sim-alpaca-prints", "CORZ", now)).toEqual([{ fromMs: from, toMs: now }]);
  expect(m.holesOf("sim-massive", "CORZ", now)).toEqual([]);
  m.ingest({ ...gap, ...row(3), state: "filled", to_time: "2026-11-25T19:10:00Z" });
  m.ingest({ ...gap, ...row(2), state: "open" }); // told late
  expect(m.holesOf("sim-alpaca", "CORZ", now)).toEqual([]);
});

test("halts are spans, and a resumption ends one", () => {
  expect(["H Trading Halt", "P Volatility Trading Pause", "T Trading Resumption", "Q Quotation Resumption"].map(isHalt)).toEqual([true, true, false, false]);
  const m = new Model(rangeNamed("6h"));
  const halt = { type: "halt" as const, kind: "status" as const, source: "sim-alpaca", symbol: "CORZ" };
  m.ingest({ ...halt, ...row(1), status_code: "H", status_text: "Trading Halt", reason_text: "News" });
  expect(m.haltSpans("CORZ")).toEqual([{ fromMs: Date.parse("2026-11-25T20:00:01Z"), toMs: undefined, text: "Trading Halt: News" }]);
  m.ingest({ ...halt, ...row(4), status_code: "T", status_text: "Trading Resumption" });
  expect(m.haltSpans("CORZ")[0]!.toMs).toBe(Date.parse("2026-11-25T20:00:04Z"));
});
