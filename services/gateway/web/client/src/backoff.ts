/** What to do after a connection has ended. */
export type Verdict = { reconnect: false } | { reconnect: true; delayMs: number };

export interface BackoffOptions {
  baseMs: number;
  maxMs: number;
  random: () => number;
}

/**
 * Decides by the close code, as docs/live.md says: 4000 to 4099 invite to connect again, 4100 to 4199, 1007 and 1009 do not, except 4102 (too many) after
 * half a minute at least. Everything else is a broken line. The delay doubles with each attempt and is jittered, so that a thousand clients of a gateway that
 * ended do not come back at once.
 */
export function verdict(code: number, attempt: number, o: BackoffOptions): Verdict {
  if (code === 4102) return { reconnect: true, delayMs: 30_000 * (1 + o.random()) };
  if (code === 1007 || code === 1009 || (code >= 4100 && code <= 4199)) return { reconnect: false };
  const ceiling = Math.min(o.maxMs, o.baseMs * 2 ** Math.min(attempt, 30));
  return { reconnect: true, delayMs: ceiling * (0.5 + 0.5 * o.random()) };
}
