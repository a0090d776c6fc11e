/** A place in a stream: who holds it has everything up to and including it. */
export interface Cursor {
  stream: string;
  seq: bigint;
  /** Infinity stands for the whole message. */
  idx: number;
}

/** Reads TRADES:18231:4 or TRADES:18231; undefined for anything else. */
export function parseCursor(text: string): Cursor | undefined {
  const m = /^([A-Z]+):(0|[1-9]\d{0,19})(?::(0|[1-9]\d{0,9}))?$/.exec(text);
  if (!m) return undefined;
  return { stream: m[1]!, seq: BigInt(m[2]!), idx: m[3] === undefined ? Infinity : Number(m[3]) };
}

/** Whether a lies behind b in the same stream. */
export function isAfter(a: Cursor, b: Cursor): boolean {
  return a.seq > b.seq || (a.seq === b.seq && a.idx > b.idx);
}

/** The later of two cursors as text; an unreadable one is never the later. */
export function later(a: string | undefined, b: string): string {
  const ca = a === undefined ? undefined : parseCursor(a);
  const cb = parseCursor(b);
  if (!ca) return b;
  return cb && isAfter(cb, ca) ? b : a!;
}
