import { type Cursor, isAfter, later, parseCursor } from "./cursor.js";
import { GatewayError, type Skipped, type Spec, type SubscriptionState, contentOf } from "./frames.js";
import { type Channel, type ChannelMessages, type Message, keyOf } from "./messages.js";

/** Messages that this client did not get, and why. */
export interface Gap {
  /**
   * rate: conflated to the max_rate that was asked for. slow: this client read too slowly. hole: the cursor could not be resumed from (the stream was made
   * anew, or purged), so that what lies behind it is unknown.
   */
  reason: "rate" | "slow" | "hole";
  /** How many of which symbols and between which cursors; of a hole only where it begins. */
  skipped: Skipped[];
  /** Of a hole: the last cursor before it, and the gateway's code. */
  from?: string;
  code?: string;
}

export interface SubscribeOptions<C extends Channel = Channel> extends Spec<C> {
  /** live (default), snapshot, a time (RFC 3339) or a cursor. */
  from?: string;
  /** Of the cursor. */
  epoch?: string;
}

export interface Handlers<M extends Message = Message> {
  /** Messages in order, each once. snapshot: they are last values, not news. */
  onMessages?: (messages: M[], snapshot: boolean) => void;
  onGap?: (gap: Gap) => void;
  /** History has been caught up with. */
  onLive?: (position: string) => void;
  /** The gateway refused the subscription; it is over. */
  onError?: (error: GatewayError) => void;
}

/** A subscription that outlives connections. */
export interface Subscription {
  /** The gateway's name of it; undefined until it is acknowledged. */
  readonly sub: string | undefined;
  /** Everything up to and including this cursor has been received or told as skipped. */
  readonly position: string | undefined;
  readonly epoch: string | undefined;
  /** Messages delivered, doubles dropped. */
  readonly received: number;
  readonly dropped: number;
  unsubscribe(): void;
}

/** Bookkeeping of one subscription: where it is, and what would be a double. */
export class Sub<C extends Channel = Channel> implements Subscription {
  sub: string | undefined;
  position: string | undefined;
  epoch: string | undefined;
  received = 0;
  dropped = 0;
  readonly content: string;
  /** Last cursor of each symbol: a message at or before it is a double. */
  private readonly seen = new Map<string, Cursor>();
  private slow = false;

  constructor(
    readonly options: SubscribeOptions<C>,
    readonly handlers: Handlers<ChannelMessages[C]>,
    private readonly onUnsubscribe: (s: Sub) => void,
  ) {
    this.content = contentOf(options);
    this.epoch = options.epoch;
  }

  unsubscribe(): void {
    this.onUnsubscribe(this as unknown as Sub);
  }

  acknowledged(state: SubscriptionState): void {
    this.sub = state.sub;
    if (state.epoch !== undefined) this.epoch = state.epoch;
    // Of a snapshot the position is known only once it is here.
    if (state.start && this.position === undefined && this.options.from !== "snapshot") this.reached(state.start);
  }

  /** Where to start on a new connection. */
  start(): { from?: string; epoch?: string } {
    if (this.position !== undefined) return { from: this.position, epoch: this.epoch };
    return { from: this.options.from, epoch: this.options.epoch };
  }

  /** The position cannot be resumed from: say so and start from the present. */
  lost(code: string): void {
    const from = this.position ?? this.options.from;
    this.position = undefined;
    this.epoch = undefined;
    this.seen.clear();
    this.options.from = "snapshot";
    this.options.epoch = undefined;
    this.handlers.onGap?.({ reason: "hole", skipped: [], from, code });
  }

  snapshot(messages: Message[], position: string): void {
    this.deliver(messages, true);
    this.reached(position);
  }

  data(messages: Message[], skipped: Skipped[] | undefined): void {
    if (skipped?.length) this.handlers.onGap?.({ reason: this.options.maxRate ? "rate" : "slow", skipped });
    this.deliver(messages, false);
  }

  skipped(skipped: Skipped[]): void {
    this.handlers.onGap?.({ reason: "slow", skipped });
  }

  /** From here on a message's cursor says nothing about those of other symbols, until a heartbeat says where we are. */
  slowed(): void {
    this.slow = true;
  }

  live(position: string): void {
    this.reached(position);
    this.handlers.onLive?.(this.position ?? position);
  }

  heartbeat(position: string): void {
    this.slow = false;
    this.reached(position);
  }

  private reached(position: string): void {
    if (parseCursor(position)) this.position = later(this.position, position);
  }

  private deliver(messages: Message[], snapshot: boolean): void {
    const fresh: Message[] = [];
    const inOrder = !snapshot && !this.options.maxRate && !this.slow;
    for (const m of messages) {
      const cursor = parseCursor(m.cursor);
      const key = keyOf(m);
      const last = this.seen.get(key);
      // A snapshot may hold several values of a key (network prices by source), so it only sets the mark.
      if (!snapshot && (!cursor || (last && !isAfter(cursor, last)))) {
        this.dropped++;
        continue;
      }
      if (cursor && (!last || isAfter(cursor, last))) this.seen.set(key, cursor);
      if (inOrder) this.reached(m.cursor);
      fresh.push(m);
    }
    if (fresh.length === 0) return;
    if (!snapshot) this.received += fresh.length;
    this.handlers.onMessages?.(fresh as ChannelMessages[C][], snapshot);
  }
}
