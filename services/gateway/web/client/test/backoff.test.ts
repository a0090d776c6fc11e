import { expect, test } from "vitest";
import { verdict } from "../src/backoff.js";
import { isAfter, later, parseCursor } from "../src/cursor.js";

const o = (random: number) => ({ baseMs: 500, maxMs: 30_000, random: () => random });

test("the delay doubles to its bound and is jittered by half", () => {
  expect(verdict(1006, 0, o(0))).toEqual({ reconnect: true, delayMs: 250 });
  expect(verdict(1006, 0, o(1))).toEqual({ reconnect: true, delayMs: 500 });
  expect(verdict(4000, 3, o(1))).toEqual({ reconnect: true, delayMs: 4000 });
  expect(verdict(1006, 60, o(1))).toEqual({ reconnect: true, delayMs: 30_000 });
});

test("who had too many comes back, but not at once", () => {
  expect(verdict(4102, 0, o(0))).toEqual({ reconnect: true, delayMs: 30_000 });
});

test("cursors are compared exactly, beyond what a number holds", () => {
  const at = (s: string) => parseCursor(s)!;
  expect(isAfter(at("TRADES:9007199254740993:0"), at("TRADES:9007199254740992:0"))).toBe(true);
  expect(isAfter(at("TRADES:7"), at("TRADES:7:4294967294"))).toBe(true);
  expect(isAfter(at("TRADES:7:1"), at("TRADES:7"))).toBe(false);
  expect(later(undefined, "TRADES:1")).toBe("TRADES:1");
  expect(later("TRADES:2", "TRADES:1:5")).toBe("TRADES:2");
  for (const bad of ["", "TRADES", "TRADES:-1", "TRADES:1:2:3", "TRADES:01", "trades:1", "TRADES:1:"]) expect(parseCursor(bad)).toBeUndefined();
});
