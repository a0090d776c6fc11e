import type { Channel, Interval, Message } from "./messages.js";

/** What a subscription selects. */
export interface Spec<C extends Channel = Channel> {
  channel: C;
  /** Keys of the channel or patterns with stars; ["*"] is all of it. */
  symbols: string[];
  /** Of bars. */
  interval?: Interval;
  /** An upstream, or a pattern with stars. */
  source?: string;
  /** Messages a second and symbol, 0.1 to 1000; what comes faster is conflated. */
  maxRate?: number;
}

/** A subscription as an acknowledgement lists it. */
export interface SubscriptionState {
  sub: string;
  channel: Channel;
  symbols: string[];
  source?: string;
  interval?: Interval;
  max_rate?: number;
  /** When the stream was created: a cursor of another epoch means other messages. */
  epoch?: string;
  /** The cursor behind which delivery began. */
  start?: string;
}

/** Messages that were left out: how many, and the cursors of the first and the last. */
export interface Skipped {
  /** Absent: of the whole subscription. */
  symbol?: string;
  count: number;
  from: string;
  to: string;
}

export interface Welcome {
  type: "welcome";
  version: string;
  mode: "live" | "sim" | "recorded";
  gateway?: string;
  time: string;
  heartbeat_s: number;
  authenticated?: boolean;
  limits?: Record<string, number>;
}

export type Frame =
  | Welcome
  | { type: "ack"; id?: string; op: string; sub?: string; time?: string; subscriptions?: SubscriptionState[] }
  | { type: "error"; id?: string; sub?: string; code: string; message: string }
  | { type: "snapshot"; sub: string; messages?: Message[]; position: string }
  | { type: "data"; sub: string; messages?: Message[]; skipped?: Skipped[] }
  | { type: "live"; sub: string; position: string }
  | { type: "slow"; sub: string; pending_bytes: number }
  | { type: "skipped"; sub: string; skipped: Skipped[] }
  | { type: "heartbeat"; time: string; positions?: Record<string, string>; resume?: string }
  | { type: "replay"; sub: string; state: ReplayState; time?: string; speed: number }
  | { type: "shutdown"; resume?: string };

export type ReplayState = "running" | "paused" | "ended";

/** An error that the gateway answered with. */
export class GatewayError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(`${code}: ${message}`);
    this.name = "GatewayError";
  }
}

/** The wire form of a Spec. */
export function wireSpec(s: Spec): Record<string, unknown> {
  return { channel: s.channel, symbols: s.symbols, interval: s.interval, source: s.source, max_rate: s.maxRate };
}

/** One text for all specs that select the same, so that an acknowledged subscription is found by its content. */
export function contentOf(s: { channel: string; symbols: string[]; interval?: string; source?: string; max_rate?: number; maxRate?: number }): string {
  const symbols = s.symbols.includes("*") ? ["*"] : [...new Set(s.symbols)].sort();
  const source = s.source === "*" ? "" : (s.source ?? "");
  return JSON.stringify([s.channel, symbols, s.interval ?? "", source, Math.round((s.maxRate ?? s.max_rate ?? 0) * 1000)]);
}
