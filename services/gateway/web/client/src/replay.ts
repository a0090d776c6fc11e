import { type GatewayError, type ReplayState, type Spec, wireSpec } from "./frames.js";
import type { Message, Time } from "./messages.js";

export interface ReplayOptions {
  subscriptions: Spec[];
  start: Time;
  end?: Time;
  /** Times the pace that it had, 0.1 to 10000; 0: as fast as it is read. */
  speed?: number;
  /** event (default): by the venues' time. stream: by arrival. */
  clock?: "event" | "stream";
}

export interface ReplayHandlers {
  onMessages?: (messages: Message[]) => void;
  onState?: (state: ReplayState, time: Time | undefined, speed: number) => void;
  onError?: (error: GatewayError) => void;
}

/** A replay that outlives connections: on a new one it goes on where it was. */
export interface Replay {
  readonly state: ReplayState;
  readonly time: Time | undefined;
  pause(): void;
  resume(): void;
  stop(): void;
  setSpeed(speed: number): void;
  seek(time: Time): void;
}

type Control = (replay: Run, request: Record<string, unknown>, done?: () => void) => void;

/** Bookkeeping of one replay. */
export class Run implements Replay {
  sub: string | undefined;
  state: ReplayState = "running";
  time: Time | undefined;
  /** The reader's clock of the last message, and which messages had that very time: they come again after a reconnect and are doubles. */
  private last: Time | undefined;
  private atLast = new Set<string>();
  private seekTo: Time | undefined;
  /** Sought and not yet acknowledged: what comes is of the place that was left. */
  private seeking = 0;

  constructor(
    readonly options: ReplayOptions,
    readonly handlers: ReplayHandlers,
    private readonly control: Control,
  ) {}

  /** The request that starts it, or goes on with it. */
  request(): Record<string, unknown> {
    const { subscriptions, end, speed, clock } = this.options;
    return { op: "replay", subscriptions: subscriptions.map(wireSpec), start: this.seekTo ?? this.last ?? this.options.start, end, speed, clock };
  }

  pause(): void {
    this.state = "paused";
    this.control(this, { action: "pause" });
  }

  resume(): void {
    this.state = "running";
    this.control(this, { action: "resume" });
  }

  stop(): void {
    this.state = "ended";
    this.control(this, { action: "stop" });
  }

  setSpeed(speed: number): void {
    this.options.speed = speed;
    this.control(this, { action: "speed", speed });
  }

  seek(time: Time): void {
    this.seekTo = time;
    this.last = undefined;
    this.atLast.clear();
    this.seeking++;
    this.control(this, { action: "seek", start: time }, () => this.seeking--);
  }

  data(messages: Message[]): void {
    if (this.seeking > 0) return;
    const fresh: Message[] = [];
    for (const m of messages) {
      const t = (this.options.clock === "stream" ? m.stream_time : m.event_time) ?? m.event_time;
      if (t === this.last) {
        if (this.atLast.has(m.cursor)) continue;
      } else {
        this.last = t;
        this.atLast.clear();
      }
      this.atLast.add(m.cursor);
      this.seekTo = undefined;
      fresh.push(m);
    }
    if (fresh.length > 0) this.handlers.onMessages?.(fresh);
  }

  frame(state: ReplayState, time: Time | undefined, speed: number): void {
    this.state = state;
    if (time && this.seeking === 0) this.time = time;
    this.handlers.onState?.(state, this.time, speed);
  }
}
