import type { Message } from "@hashpivot/client";
import type { View } from "../view.js";
import { RANGES, type Range } from "./grid.js";
import { EQUITIES, type MarketEvent, type Model } from "./model.js";
import type { SourceEvents } from "./source.js";

const NAMES = ["pivot-premium", "gpu-revenue"];
const CLASSES = ["on-demand", "interruptible", "reserved"];
/** Once all bars, since some venues name no session, and once those of each. */
const SESSIONS = ["", "overnight", "pre", "regular", "after"];
const METHODS = ["tip144", "daily", "luxor", "braiins", "coinmetrics-daily"];
/** The fleet that mining revenue is told of until a message names another. */
const FLEET = "fleet";

type Row = Record<string, any>;

/** One question to the gateway: its path with parameters, and where the answer goes. */
export interface Request {
  path: string;
  take(model: Model, answer: Row): void;
}

const BUCKETS = [["5s", 5], ["15s", 15], ["30s", 30], ["2m", 120], ["5m", 300], ["10m", 600], ["1h", 3600], ["6h", 21_600], ["12h", 43_200], ["1d", 86_400]] as const;

/** The shortest length of a bucket that gives at most some 1,500 points of the range. */
export function bucketOf(range: Range): string {
  return (BUCKETS.find(([, s]) => range.spanS / s <= 1100) ?? BUCKETS[BUCKETS.length - 1]!)[0];
}

const path = (name: string, p: Record<string, string>): string => `v1/${name}?${new URLSearchParams(p)}`;

/** What the charts of a range are drawn of. */
export function requests(range: Range, view: View, fleet: string | undefined, toMs: number): Request[] {
  const from = new Date(toMs - range.spanS * 1000).toISOString();
  const to = new Date(toMs).toISOString();
  const interval = bucketOf(range);
  const out: Request[] = [];
  const series = (channel: string, symbol: string, field: string, take: (model: Model, points: Row[]) => void) =>
    out.push({ path: path("series", { channel, symbol, field, interval, from, to }), take: (m, a) => take(m, a["points"] ?? []) });
  for (const method of METHODS) {
    series("hashprice", method, "hashprice_usd", (m, points) => {
      for (const p of points) m.value(`hashprice/${method}`, method, Date.parse(p["event_time"]), Number(p["value"] ?? 0));
    });
  }
  for (const [method, id] of [["tip144", "btc"], ["daily", "btc/daily"]] as const) {
    series("hashprice", method, "btc_usd", (m, points) => {
      for (const p of points) if (Number(p["value"])) m.value(id, method, Date.parse(p["event_time"]), Number(p["value"]));
    });
  }
  for (const suffix of range.spanS > 86_400 ? ["-1d"] : ["", "-1d"]) {
    for (const key of [...NAMES.map((n) => `${n}${suffix}/${view.gpu}`), `mining-revenue${suffix}/${fleet ?? FLEET}`]) {
      series("signals", key, "value", (m, points) => {
        for (const p of points) m.value(`signal/${key}`, suffix ? "daily" : "", Date.parse(p["event_time"]), Number(p["value"] ?? 0));
      });
    }
  }
  for (const cls of CLASSES) out.push(...rates(`${view.gpu}/${cls}`, (field) => path("series", { channel: "rates", symbol: `${view.gpu}/${cls}`, field, interval, from, to })));
  for (const symbol of EQUITIES) {
    for (const bar of range.bars) {
      for (const session of bar === "1d" ? [""] : SESSIONS) {
        const p: Record<string, string> = { symbol, interval: bar, from, to, limit: "10000" };
        if (session) p["session"] = session;
        out.push({
          path: path("bars", p),
          take: (m, a) => {
            for (const b of a["bars"] ?? []) m.ingest({ ...b, type: "bar", symbol, interval: bar, session, event_time: b.time, backfill: true, cursor: "" } as Message);
          },
        });
      }
    }
  }
  const told = (m: Model, list: Row[] | undefined) => {
    for (const row of list ?? []) m.ingest({ ...row, backfill: true } as unknown as Message);
  };
  out.push({ path: path("history", { channel: "halts", symbols: EQUITIES.join(","), order: "event_time", from, to, limit: "10000" }), take: (m, a) => told(m, a["messages"]) });
  out.push({ path: path("gaps", { from, to, limit: "10000" }), take: (m, a) => told(m, a["gaps"]) });
  out.push({ path: "v1/events", take: (m, a) => m.mark(eventsOf(a)) });
  return out;
}

/** A rate with its percentiles: three series that are one when all are here. */
function rates(symbol: string, pathOf: (field: string) => string): Request[] {
  const fields = ["usd_per_gpu_hour", "p10_usd_per_gpu_hour", "p90_usd_per_gpu_hour"];
  const got = new Map<string, Row[]>();
  return fields.map((field) => ({
    path: pathOf(field),
    take: (m, a) => {
      got.set(field, a["points"] ?? []);
      if (got.size < fields.length) return;
      const at = (f: string) => new Map(got.get(f)!.map((p) => [`${p["time"]} ${p["source"]} ${p["method"]}`, p] as const));
      const [lo, hi] = [at(fields[1]!), at(fields[2]!)];
      for (const [key, p] of at(fields[0]!)) {
        const [a10, a90] = [lo.get(key), hi.get(key)];
        const whole = Number(a10?.["value"]) && Number(a90?.["value"]) && a10!["event_time"] === p["event_time"] && a90!["event_time"] === p["event_time"];
        const method = String(p["method"]).replace(/\/\d+$/, "");
        m.value(
          `rate/${symbol}/${method}`, method, Date.parse(p["event_time"]), Number(p["value"] ?? 0),
          whole ? Number(a10!["value"]) : undefined, whole ? Number(a90!["value"]) : undefined,
        );
      }
    },
  }));
}

/** Contracts with AI and other events, the oldest first. */
export function eventsOf(a: Row): MarketEvent[] {
  const event = (date: string, kind: string, r: Row): MarketEvent =>
    ({ ms: Date.parse(date), symbol: r["symbol"] ?? "", kind, title: r["title"] ?? "", source: r["source"] ?? "", exact: r["exact"] === true });
  return [
    ...(a["contracts"] ?? []).map((c: Row) => event(c["signed"], "ai-contract", c)), ...(a["events"] ?? []).map((e: Row) => event(e["date"], e["kind"] ?? "", e)),
  ].sort((x, y) => x.ms - y.ms);
}

async function ask(url: string, signal: AbortSignal): Promise<Row> {
  const r = await fetch(new URL(url, document.baseURI), { signal });
  const answer = (await r.json().catch(() => ({}))) as Row;
  if (!r.ok) throw new Error(String(answer["message"] ?? `${r.status} of ${url}`));
  return answer;
}

/** History of the model's range up to a moment, asked in parts side by side. Any number of times: what is there already changes nothing. */
export class History {
  private readonly abort = new AbortController();

  constructor(model: Model, view: View, toMs: number, ev: SourceEvents) {
    void this.run(model, view, toMs, ev);
  }

  private async run(model: Model, view: View, toMs: number, ev: SourceEvents): Promise<void> {
    const { signal } = this.abort;
    try {
      const named = await ask("v1/snapshot?channel=signals&symbols=mining-revenue*/*", signal);
      const fleet = (named["messages"] as Row[] | undefined)?.[0]?.["symbol"] as string | undefined;
      await Promise.all(
        requests(model.range, view, fleet, toMs).map(async (q) => {
          const answer = await ask(q.path, signal);
          if (signal.aborted) return;
          q.take(model, answer);
          ev.changed();
        }),
      );
      if (!signal.aborted) ev.loaded(false);
    } catch (err) {
      if (!signal.aborted) ev.failed(`history: ${err instanceof Error ? err.message : String(err)}`);
    }
  }

  stop(): void {
    this.abort.abort();
  }
}

/** The events alone, for a replay, which has no message of them. */
export function loadEvents(model: Model, ev: SourceEvents): void {
  ask("v1/events", AbortSignal.timeout(30_000)).then(
    (a) => {
      model.mark(eventsOf(a));
      ev.changed();
    },
    (err: unknown) => ev.failed(`events: ${err instanceof Error ? err.message : String(err)}`),
  );
}

const ENOUGH = 30;

/** The shortest range from a day on that shows something: of the times of the day's values and bars, and of the daily hashprices. */
export function shortestRange(dayTimes: ReadonlySet<string>, dailyMs: readonly number[], nowMs: number): string {
  if (dayTimes.size >= ENOUGH) return "1d";
  const fits = (r: Range) => r.spanS > 86_400 && dailyMs.filter((ms) => ms >= nowMs - r.spanS * 1000).length >= ENOUGH;
  return RANGES.find(fits)?.name ?? "1d";
}

/** Asks what there is for a link that names no range; what cannot be known in two seconds is the usual day. */
export async function rangeWithData(): Promise<string> {
  const signal = AbortSignal.timeout(2000);
  const now = Date.now();
  const from = (days: number) => new Date(now - days * 86_400_000).toISOString();
  try {
    const [ticks, bars, daily] = await Promise.all([
      ask(path("series", { channel: "hashprice", symbol: "tip144", field: "hashprice_usd", interval: "5m", from: from(1) }), signal),
      ask(path("bars", { symbol: EQUITIES[0], interval: "5m", from: from(1), limit: "200" }), signal),
      ask(path("series", { channel: "hashprice", symbol: "daily", field: "hashprice_usd", interval: "1d", from: from(1096) }), signal),
    ]);
    const times = (list: Row[] | undefined) => new Set((list ?? []).map((p) => String(p["time"])));
    const [a, b] = [times(ticks["points"]), times(bars["bars"])];
    return shortestRange(a.size > b.size ? a : b, ((daily["points"] ?? []) as Row[]).map((p) => Date.parse(p["event_time"])), now);
  } catch {
    return "1d";
  }
}
