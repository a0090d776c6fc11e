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
