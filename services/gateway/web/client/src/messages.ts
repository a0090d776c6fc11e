// The messages of docs/live.md: columns of the tables. A field that is absent is zero, empty or not given.

/** An exact decimal as text; convert with Number() only to draw or to estimate. */
export type Decimal = string;
/** RFC 3339 in UTC with up to nine digits. */
export type Time = string;

interface Row {
  cursor: string;
  event_time: Time;
  recv_time?: Time;
  stream_time?: Time;
  source: string;
  rev?: number;
  backfill?: boolean;
}

export interface Trade extends Row {
  type: "trade";
  action: "trade" | "correction" | "cancel";
  symbol: string;
  trade_id?: string;
  exchange?: string;
  tape?: string;
  price_usd?: Decimal;
  size_shares?: Decimal;
  conditions?: string[];
  original_trade_id?: string;
  original_price_usd?: Decimal;
  original_size_shares?: Decimal;
  cancel_code?: string;
}

export interface Quote extends Row {
  type: "quote";
  symbol: string;
  bid_price_usd?: Decimal;
  ask_price_usd?: Decimal;
  bid_size_shares?: Decimal;
  ask_size_shares?: Decimal;
  bid_exchange?: string;
  ask_exchange?: string;
  conditions?: string[];
  tape?: string;
}

export interface Bar extends Row {
  type: "bar";
  symbol: string;
  interval: Interval;
  open_usd?: Decimal;
  high_usd?: Decimal;
  low_usd?: Decimal;
  close_usd?: Decimal;
  volume?: Decimal;
  vwap_usd?: Decimal;
  trade_count?: number;
  final?: boolean;
  session?: "pre" | "regular" | "after" | "overnight";
  trade_date?: string;
  method?: string;
}

export interface Halt extends Row {
  type: "halt";
  kind: "status" | "luld";
  symbol: string;
  status_code?: string;
  status_text?: string;
  reason_code?: string;
  reason_text?: string;
  tape?: string;
  limit_up_usd?: Decimal;
  limit_down_usd?: Decimal;
  indicator?: string;
}

export interface Imbalance extends Row {
  type: "imbalance";
  symbol: string;
  [column: string]: unknown;
}

export interface Block extends Row {
  type: "block";
  height?: number;
  hash?: string;
  previous_hash?: string;
  difficulty?: Decimal;
  subsidy_sat?: number;
  fees_sat?: number;
  reward_sat?: number;
  tx_count?: number;
  size_bytes?: number;
  weight_units?: number;
  pool?: string;
}

export interface Difficulty extends Row {
  type: "difficulty";
  height?: number;
  difficulty?: Decimal;
  change_percent?: number;
  estimated_change_percent?: number;
  remaining_blocks?: number;
  next_retarget_height?: number;
}

export interface Fees extends Row {
  type: "fees";
  fastest_sat_per_vb?: Decimal;
  half_hour_sat_per_vb?: Decimal;
  hour_sat_per_vb?: Decimal;
  economy_sat_per_vb?: Decimal;
  minimum_sat_per_vb?: Decimal;
}

export interface BTCPrice extends Row {
  type: "btc_price";
  price_usd?: Decimal;
  bid_usd?: Decimal;
  ask_usd?: Decimal;
  volume_24h_btc?: Decimal;
  venue_seq?: number;
}

export interface Hashprice extends Row {
  type: "hashprice";
  method: string;
  height?: number;
  difficulty?: Decimal;
  subsidy_sat?: number;
  mean_fees_sat?: Decimal;
  fee_window_blocks?: number;
  btc_usd?: Decimal;
  btc_usd_source?: string;
  btc_usd_age_ms?: number;
  hashprice_btc?: Decimal;
  hashprice_sat?: Decimal;
  hashprice_usd?: Decimal;
  network_ehs?: Decimal;
  inputs?: Record<string, string>;
  published?: boolean;
}

export interface Offer extends Row {
  type: "offer";
  action: "opened" | "changed" | "closed";
  provider: string;
  offer_id?: string;
  host_id?: string;
  machine_id?: string;
  gpu: string;
  gpu_name?: string;
  gpu_count?: number;
  gpu_memory_mib?: number;
  class?: string;
  usd_per_gpu_hour?: Decimal;
  raw_price?: Decimal;
  raw_unit?: string;
  region?: string;
  verified?: boolean;
  rentable?: boolean;
  reliability?: number;
  via?: string;
  stock?: string;
}

export interface Rate extends Row {
  type: "rate";
  gpu: string;
  class: string;
  method: string;
  version?: number;
  usd_per_gpu_hour?: Decimal;
  p10_usd_per_gpu_hour?: Decimal;
  p90_usd_per_gpu_hour?: Decimal;
  dispersion?: number;
  sample_offers?: number;
  sample_gpus?: number;
  sample_hosts?: number;
  sample_providers?: number;
  constituent_providers?: string[];
  constituent_usd_per_gpu_hour?: Decimal[];
  constituent_gpus?: number[];
  constituent_offers?: number[];
}

export interface Signal extends Row {
  type: "signal";
  name: string;
  symbol: string;
  value?: Decimal;
  unit?: string;
  inputs?: Record<string, string>;
}

export interface FeedEvent extends Row {
  type: "feed_event";
  state: "connected" | "lost" | "stale" | "stopped" | "refused" | (string & {});
  detail?: string;
}

export interface FeedGap extends Row {
  type: "feed_gap";
  gap_id: string;
  symbol: string;
  from_time?: Time | null;
  to_time?: Time | null;
  reason?: string;
  state: "open" | "filled" | "partly" | "given_up" | (string & {});
  recovered?: number;
}

/** A length that fills a minute, an hour or a day evenly, such as 30s, 5m, 4h, 1d. */
export type Interval = `${number}${"s" | "m" | "h"}` | "1d";

/** What each channel carries. */
export interface ChannelMessages {
  trades: Trade;
  quotes: Quote;
  bars: Bar;
  halts: Halt | Imbalance;
  network: Block | Difficulty | Fees | BTCPrice;
  hashprice: Hashprice;
  offers: Offer;
  rates: Rate;
  signals: Signal;
  feeds: FeedEvent | FeedGap;
}

export type Channel = keyof ChannelMessages;
export type Message = ChannelMessages[Channel];

/** The symbol that subscriptions select the message by, as docs/live.md lists. */
export function keyOf(m: Message): string {
  switch (m.type) {
    case "trade":
    case "quote":
    case "bar":
    case "halt":
    case "imbalance":
      return m.symbol;
    case "hashprice":
      return m.method;
    case "offer":
      return `${m.provider}/${m.gpu}`;
    case "rate":
      return `${m.gpu}/${m.class}`;
    case "signal":
      return `${m.name}/${m.symbol}`;
    case "block":
    case "difficulty":
    case "fees":
      return m.type;
    case "btc_price":
      return "btcusd";
    case "feed_event":
    case "feed_gap":
      return m.source;
  }
}
