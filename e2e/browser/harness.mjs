import { chromium } from "playwright-core";

/** Where the page and the tables are: the gateway's address and ClickHouse's HTTP address with its database. */
export const BASE_URL = (process.env.BASE_URL ?? "").replace(/\/$/, "");
export const CLICKHOUSE_URL = process.env.CLICKHOUSE_URL ?? "";

/** No test runs, and none passes, without what it tests. */
export function required() {
  if (!BASE_URL || !CLICKHOUSE_URL) throw new Error("set BASE_URL (http://127.0.0.1:8080) and CLICKHOUSE_URL (http://127.0.0.1:8123/?database=hashpivot_sim)");
}

export function launch() {
  required();
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
}

/** A page that remembers errors, and every address that it asked for. */
export async function open(browser, { hash = "", ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1400 }, colorScheme: "dark", ...options });
  context.setDefaultTimeout(90_000); // what a test waits for comes; how soon is measured apart from that
  const page = await context.newPage();
  const errors = [];
  const asked = [];
  page.on("console", (m) => {
    if (m.type() === "error" || m.type() === "warning") errors.push(m.text());
  });
  page.on("pageerror", (e) => errors.push(e.message));
  page.on("request", (r) => asked.push(r.url()));
  await page.goto(`${BASE_URL}/${hash}`);
  return { page, context, errors, asked };
}

/** How long the frames of a page take over a while, ms. */
export function frames(page, within) {
  return page.evaluate(
    (within) =>
      new Promise((resolve) => {
        const times = [];
        const begin = performance.now();
        const frame = (t) => {
          times.push(t);
          if (performance.now() - begin < within) return requestAnimationFrame(frame);
          const gaps = times.slice(1).map((x, i) => x - times[i]).sort((a, b) => a - b);
          resolve({ n: gaps.length, p50: gaps[gaps.length >> 1], p99: gaps[Math.floor(gaps.length * 0.99)] });
        };
        requestAnimationFrame(frame);
      }),
    within,
  );
}

/** What a page without anything needs to be opened and painted, ms, and its frames: what a machine that is shared can do just now. */
export async function empty(browser) {
  const begin = performance.now();
  const context = await browser.newContext({ viewport: { width: 1440, height: 1400 } });
  const page = await context.newPage();
  await page.goto(`${BASE_URL}/favicon.svg`);
  await page.evaluate(() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted))));
  const ms = performance.now() - begin;
  const of = await frames(page, 500);
  await context.close();
  return { ms, frames: of };
}

/** What the page follows, with how many messages it had of each and up to where. */
export async function followed(page) {
  return JSON.parse((await page.locator("#footer [data-followed]").getAttribute("data-followed")) ?? "[]");
}

/** Asks ClickHouse over HTTP and reads lines of tab-separated values. */
export async function query(sql) {
  const r = await fetch(CLICKHOUSE_URL, { method: "POST", body: `${sql} FORMAT TabSeparated` });
  const text = await r.text();
  if (!r.ok) throw new Error(`query ClickHouse: ${text}`);
  return text.trim().split("\n").map((line) => line.split("\t"));
}
