import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BASE_URL, empty, followed, frames, launch, open, query } from "./harness.mjs";

const SHOTS = process.env.SCREENSHOTS; // a directory to keep pictures in
let browser;
before(async () => {
  browser = await launch();
  const page = await browser.newPage(); // so that a browser's own start is not counted as the page's
  await page.goto(`${BASE_URL}/favicon.svg`);
  await page.close();
});
after(async () => {
  await browser?.close();
});

const number = (text) => Number(text.replace(/[^0-9.]/g, ""));
const premium = (page) => page.waitForFunction(() => /\d/.test(document.querySelector(".premium")?.textContent ?? ""));

/** A time is what the page needs at its best of a few tries: other work on the machine can only add to it, and a page that is slow is slow each time. */
async function best(tries, met, measure) {
  for (let i = 1; ; i++) {
    const measured = await measure();
    if (i === tries || met(measured)) return measured;
    console.log(`try ${i} of ${tries}:`, JSON.stringify(measured));
  }
}
const shot = async (page, name) => {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/${name}.png` });
};

test("the first paint with data comes within two seconds, from this gateway alone, without an error", async () => {
  // Two seconds on a machine of its own. One that is shared is measured beside it: by what a page that does nothing needs to be opened and painted.
  const quick = ({ ms, idle }) => ms < 2000 || ms < 30 * idle;
  const paint = await best(4, quick, async () => {
    const before = await empty(browser);
    const opened = await open(browser);
    await premium(opened.page);
    const ms = await opened.page.evaluate(() => performance.getEntriesByName("hashpivot:data")[0].startTime);
    const idle = Math.max(before.ms, (await empty(browser)).ms);
    if (!quick({ ms, idle })) await opened.context.close();
    return { ms, idle, ...opened, toJSON: () => ({ ms, idle }) };
  });
  const { page, context, errors, asked } = paint;
  console.log("first paint with data, and of a page without anything, ms:", JSON.stringify(paint));
  assert.ok(quick(paint), `data was painted after ${paint.ms.toFixed(0)} ms, a page without anything after ${paint.idle.toFixed(0)} ms`);
  assert.equal(await page.locator(".mode").textContent(), "SIMULATED");
  await page.waitForFunction(() => document.body.dataset.loaded);
  for (const symbol of ["CORZ", "IREN", "BTBT", "WGMI"]) assert.match(await page.locator(`#equity-${symbol} .price`).textContent(), /\$\d/);
  assert.ok((await page.locator("#gpus tbody tr").count()) > 5);
  assert.ok((await page.locator("#feeds tbody tr").count()) > 5);
  for (const url of asked) assert.ok(url.startsWith(BASE_URL) || url.startsWith("blob:") || url.startsWith("data:"), `the page asked ${url}`);
  assert.deepEqual(errors, []);
  await context.close();
});

test("live updates arrive, and frames are not dropped for them", async () => {
  const { page, context, errors } = await open(browser, { hash: "#range=1h" });
  await premium(page);
  await page.waitForFunction(() => document.body.dataset.loaded === "1h");
  const told = async () => Number(await page.locator("#footer [data-messages]").getAttribute("data-messages"));
  const smooth = ({ p50, idle }) => p50 < 40 || p50 < 5 * idle.p50;
  const seen = await best(4, smooth, async () => {
    const before = await told();
    const of = await frames(page, 5000);
    const messages = (await told()) - before;
    return { messages, ...of, idle: (await empty(browser)).frames };
  });
  await shot(page, "dark");
  console.log("frames over 5 s, and of a page without anything:", JSON.stringify(seen));
  assert.ok(seen.messages > 5, "nothing came in five seconds");
  assert.ok(smooth(seen), `half of the frames took longer than ${seen.p50.toFixed(1)} ms, of a page without anything ${seen.idle.p50.toFixed(1)} ms`);
  assert.deepEqual(errors, []);
  await context.close();
});

test("after a broken line the page goes on where it was: as many messages as the table has rows", async () => {
  const { page, context } = await open(browser);
  await premium(page);
  const of = async () => (await followed(page)).find((f) => f.channel === "hashprice");
  await page.waitForFunction(() => JSON.parse(document.querySelector("#footer [data-followed]").dataset.followed).some((f) => f.channel === "hashprice" && f.received > 0));
  const a = await of();
  await context.setOffline(true);
  const cut = await context.newCDPSession(page);
  await cut.send("Network.enable");
  await cut.send("Network.emulateNetworkConditions", { offline: true, latency: 0, downloadThroughput: 0, uploadThroughput: 0 });
  await page.waitForSelector('.conn:not([data-phase="open"])'); // at once, or when the client finds the gateway silent
  await page.waitForTimeout(3000); // rows land that nobody sends us
  await cut.send("Network.emulateNetworkConditions", { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  await context.setOffline(false);
  await page.waitForSelector('.conn[data-phase="open"]');
  await page.waitForFunction((n) => JSON.parse(document.querySelector("#footer [data-followed]").dataset.followed).find((f) => f.channel === "hashprice").received > n + 3, a.received);
  const b = await of();
  const place = (cursor) => {
    const [, seq, idx] = cursor.split(":");
    return [seq, idx ?? "4294967295"];
  };
  const [seq] = place(b.position);
  for (let tries = 0; Number((await query("SELECT max(stream_seq) FROM hashprice"))[0][0]) < Number(seq); tries++) {
    assert.ok(tries < 100, `row ${b.position} does not land`); // what is live is sent before it has landed
    await page.waitForTimeout(100);
  }
  const [[rows]] = await query(`SELECT count() FROM hashprice WHERE (stream_seq, idx) > (${place(a.position)}) AND (stream_seq, idx) <= (${place(b.position)})`);
  assert.equal(b.received - a.received, Number(rows), `received between ${a.position} and ${b.position}`);
  assert.match(await page.locator("#footer").textContent(), / 0 holes/);
  await context.close();
});

test("a past moment is replayed, paused, and left for the present", async () => {
  const { page, context, errors } = await open(browser, { hash: `#range=1h&speed=20&at=${new Date(Date.now() - 4 * 60_000).toISOString().slice(0, 19)}Z` });
  await page.waitForSelector("body[data-replay]");
  const moment = async () => Date.parse((await page.locator("#replay .moment").textContent()).replace(" UTC", "Z").replace(" ", "T"));
  const t0 = await moment();
  await page.waitForFunction((t) => Date.parse(document.querySelector("#replay .moment").textContent.replace(" UTC", "Z").replace(" ", "T")) > t + 60_000, t0);
  await shot(page, "replay");
  await page.locator("body").press("Space");
  await page.waitForFunction(() => /paused=1/.test(location.hash));
  await page.waitForTimeout(600);
  const t1 = await moment();
  await page.waitForTimeout(1200);
  assert.equal(await moment(), t1, "a paused replay went on");
  assert.match(page.url(), /range=1h.*at=.*paused=1/);
  await page.locator("body").press("l");
  await page.waitForFunction(() => !document.body.hasAttribute("data-replay"));
  await premium(page);
  assert.deepEqual(errors, []);
  await context.close();
});

test("light, by the system or by the key, with readable contrast", async () => {
  const { page, context, errors } = await open(browser, { colorScheme: "light", hash: "#range=1h" });
  await premium(page);
  await page.waitForFunction(() => document.body.dataset.loaded === "1h");
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  assert.equal(await theme(), "light");
  await shot(page, "light");
  const contrast = await page.evaluate(() => {
    const light = (c) => {
      const [r, g, b] = c.match(/[\d.]+/g).map((x) => x / 255).map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const bg = light(getComputedStyle(document.querySelector(".card")).backgroundColor);
    return [...document.querySelectorAll(".age, .muted, .warn, td, th")].map((e) => {
      const l = light(getComputedStyle(e).color);
      return (Math.max(l, bg) + 0.05) / (Math.min(l, bg) + 0.05);
    });
  });
  assert.ok(Math.min(...contrast) >= 4.5, `contrast ${Math.min(...contrast).toFixed(2)}`);
  await page.locator("body").press("t");
  assert.equal(await theme(), "dark");
  assert.match(page.url(), /theme=dark/);
  assert.deepEqual(errors, []);
  await context.close();
});

test("one column on a phone, and nothing wider than it", async () => {
  const { page, context, errors } = await open(browser, { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
  await premium(page);
  await page.waitForFunction(() => document.body.dataset.loaded);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, "the page scrolls sideways");
  const lefts = await page.locator("main > .card").evaluateAll((cards) => new Set(cards.map((c) => Math.round(c.getBoundingClientRect().left))).size);
  assert.equal(lefts, 1);
  await shot(page, "phone");
  assert.deepEqual(errors, []);
  await context.close();
});

test("a link reproduces the view, and keys change it", async () => {
  const { page, context } = await open(browser, { hash: "#range=6h&gpu=b200&class=interruptible&compare=BTC,gpu&theme=light" });
  await premium(page);
  assert.equal(await page.locator('#header button[aria-pressed="true"]').textContent(), "6h");
  assert.equal(await page.locator("#pivot select").inputValue(), "b200");
  assert.deepEqual(await page.locator('#compare .chips [aria-pressed="true"]').allTextContents(), ["BTC", "gpu"]);
  await page.locator("body").press("1");
  await page.waitForFunction(() => document.body.dataset.loaded === "1h");
  assert.match(page.url(), /range=1h&gpu=b200/);
  await page.locator("body").press("?");
  await page.waitForSelector("dialog[open]");
  assert.ok(number(await page.locator("dialog kbd").first().textContent()) === 1);
  await context.close();
});
