import type { Client, Message, Replay, Spec, Subscription } from "@hashpivot/client";
import { EQUITIES, type Model } from "./model.js";
import type { View } from "../view.js";

const DAY = 86_400_000;
/** Feeds change their state seldom: what holds now may have been told long before the range. */
const FEED_HISTORY_MS = 7 * DAY;
/** Hashprices come every second or so; long ranges are drawn of the daily ones and of the indices of others. */
const TICKS_UP_TO_MS = 6 * 3_600_000;
/** A bound on what one range may bring; beyond it the page says that history is cut. */
const MAX_HISTORY = 150_000;

const PIVOT = ["pivot-premium", "pivot-spread", "gpu-revenue", "break-even-hashprice"];

function pivotSymbols(gpu: string, suffixes: readonly string[]): string[] {
  return suffixes.flatMap((s) => [`mining-revenue${s}/*`, ...PIVOT.map((n) => `${n}${s}/${gpu}`)]);
}

/** What the charts of a range are drawn of. */
function historySpecs(model: Model, view: View): Spec[] {
  const spanMs = model.range.spanS * 1000;
  const long = spanMs > DAY;
  const methods = spanMs <= TICKS_UP_TO_MS ? ["*"] : ["daily", "luxor", "braiins", "coinmetrics-daily"];
  return [
    ...model.range.bars.map((interval): Spec => ({ channel: "bars", symbols: [...EQUITIES], interval })),
    { channel: "signals", symbols: pivotSymbols(view.gpu, long ? ["-1d"] : ["", "-1d"]) },
    { channel: "hashprice", symbols: methods },
    { channel: "rates", symbols: [`${view.gpu}/*`] },
    { channel: "halts", symbols: [...EQUITIES] },
  ];
}

/** What is followed live, in the order in which it is seen. */
function liveSpecs(model: Model): Spec[] {
  return [
    { channel: "signals", symbols: ["mining-revenue*/*", ...PIVOT.map((n) => `${n}*/*`)] },
    { channel: "hashprice", symbols: ["*"] },
    { channel: "rates", symbols: ["*"] },
    ...model.range.bars.map((interval): Spec => ({ channel: "bars", symbols: [...EQUITIES], interval })),
    { channel: "trades", symbols: [...EQUITIES], maxRate: 4 },
    { channel: "halts", symbols: [...EQUITIES] },
    { channel: "feeds", symbols: ["*"] },
  ];
}

const iso = (ms: number) => new Date(ms).toISOString();

export interface SourceEvents {
  /** Something was taken in. */
  changed(): void;
  /** The history of the range is here; cut: not all of it. */
  loaded(cut: boolean): void;
  failed(words: string): void;
}

/** What was told before the moment that a replay begins with, message by message: the panels show the last of each. */
export class Lead {
  private readonly runs: Replay[] = [];
  private left = 0;
  private count = 0;
  private cut = false;
  private stopped = false;

  constructor(client: Client, model: Model, view: View, toMs: number, ev: SourceEvents) {
    const run = (subscriptions: Spec[], spanMs: number) => {
      this.left++;
      let over = false;
      const end = () => {
        if (over || this.stopped) return;
        over = true;
        if (--this.left === 0) ev.loaded(this.cut);
      };
      const replay = client.replay(
        { subscriptions, start: iso(toMs - spanMs), end: iso(toMs), speed: 0 },
        {
          onMessages: (messages) => {
            if (this.stopped || over) return;
            for (const m of messages) model.ingest(m);
            this.count += messages.length;
            ev.changed();
            if (this.count > MAX_HISTORY) {
              this.cut = true;
              replay.stop();
              end();
            }
          },
          onState: (state) => {
            if (state === "ended") end();
          },
          onError: (err) => ev.failed(`history: ${err.message}`),
        },
      );
      this.runs.push(replay);
    };
    run(historySpecs(model, view), model.range.spanS * 1000);
    run([{ channel: "feeds", symbols: ["*"] }], Math.max(FEED_HISTORY_MS, model.range.spanS * 1000));
  }

  stop(): void {
    this.stopped = true;
    for (const r of this.runs) if (r.state !== "ended") r.stop();
  }
}

/** What one live subscription of the page has received, for everybody to see. */
export interface Followed {
  subscription: Subscription;
  channel: string;
  skipped: number;
  holes: number;
}

/** The present: the last values, then everything that comes. */
export class Live {
  readonly followed: Followed[] = [];

  constructor(client: Client, model: Model, ev: SourceEvents & { missed(): void }) {
    for (const spec of liveSpecs(model)) {
      const f = { channel: spec.channel, skipped: 0, holes: 0 } as Followed;
      f.subscription = client.subscribe<any>(
        { ...spec, from: "snapshot" },
        {
          onMessages: (messages: Message[]) => {
            for (const m of messages) model.ingest(m);
            ev.changed();
          },
          onGap: (gap) => {
            if (gap.reason === "rate") {
              f.skipped += gap.skipped.reduce((n, s) => n + s.count, 0);
              return;
            }
            f.holes++;
            ev.missed(); // it is in the tables: history has it
          },
          onError: (err) => ev.failed(`${spec.channel}: ${err.message}`),
        },
      );
      this.followed.push(f);
    }
  }

  stop(): void {
    for (const f of this.followed) f.subscription.unsubscribe();
  }
}

/** A day as it was, from a moment on. */
export class Playback {
  ended = false;
  private readonly run: Replay;

  constructor(client: Client, model: Model, view: View, startMs: number, endMs: number, ev: SourceEvents & { time(ms: number): void }) {
    const bars = model.range.bars.map((interval): Spec => ({ channel: "bars", symbols: [...EQUITIES], interval }));
    const subscriptions: Spec[] = [
      ...bars,
      { channel: "signals", symbols: pivotSymbols(view.gpu, ["", "-1d"]) },
      { channel: "hashprice", symbols: ["*"] },
      { channel: "rates", symbols: ["*"] },
      { channel: "halts", symbols: [...EQUITIES] },
      { channel: "feeds", symbols: ["*"] },
    ];
    this.run = client.replay(
      { subscriptions, start: iso(startMs), end: iso(endMs), speed: view.speed },
      {
        onMessages: (messages) => {
          for (const m of messages) model.ingest(m);
          ev.changed();
        },
        onState: (state, time) => {
          this.ended = state === "ended";
          if (time) ev.time(Date.parse(time));
          ev.changed();
        },
        onError: (err) => ev.failed(`replay: ${err.message}`),
      },
    );
  }

  setPaused(paused: boolean): void {
    if (this.ended) return;
    if (paused) this.run.pause();
    else this.run.resume();
  }

  setSpeed(speed: number): void {
    if (!this.ended) this.run.setSpeed(speed);
  }

  stop(): void {
    if (this.run.state !== "ended") this.run.stop();
  }
}
