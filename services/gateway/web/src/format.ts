const cache = new Map<string, Intl.NumberFormat>();

export function num(x: number | undefined, digits = 2, maxDigits = digits): string {
  if (x === undefined || !Number.isFinite(x)) return "–";
  const key = `${digits}/${maxDigits}`;
  let f = cache.get(key);
  if (!f) cache.set(key, (f = new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: maxDigits })));
  return f.format(x);
}

export function usd(x: number | undefined, digits = 2): string {
  return x === undefined || !Number.isFinite(x) ? "–" : `$${num(x, digits)}`;
}

export function signedPercent(x: number | undefined): string {
  return x === undefined || !Number.isFinite(x) ? "–" : `${x >= 0 ? "+" : "−"}${num(Math.abs(x), 2)} %`;
}

/** 131.1 T, 938.6: for numbers that nobody reads to the last digit. */
export function compact(x: number | undefined): string {
  if (x === undefined || !Number.isFinite(x)) return "–";
  for (const [n, unit] of [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"]] as const) if (Math.abs(x) >= n) return num(x / n, 1) + unit;
  return num(x, 0, 1);
}

/** How old something is, as short as can be: 0.4 s, 12 s, 3 min, 5 h, 2 d. */
export function age(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return "–";
  const s = Math.max(0, ms) / 1000;
  if (s < 100) return `${s.toFixed(0)} s`;
  if (s < 100 * 60) return `${(s / 60).toFixed(0)} min`;
  if (s < 48 * 3600) return `${(s / 3600).toFixed(0)} h`;
  return `${(s / 86_400).toFixed(0)} d`;
}

const pad = (n: number) => String(n).padStart(2, "0");

export function clockUTC(ms: number): string {
  const d = new Date(ms);
  return `${pad(d.getUTCHours())}:${pad(d.getUTCMinutes())}:${pad(d.getUTCSeconds())}`;
}

export function dateUTC(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

export function stamp(ms: number): string {
  return `${dateUTC(ms)} ${clockUTC(ms)}`;
}

const newYork = new Intl.DateTimeFormat("en-GB", { timeZone: "America/New_York", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export function clockNewYork(ms: number): string {
  return newYork.format(ms);
}
