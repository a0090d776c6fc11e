import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Gateway } from "./gateway.js";

// The example as it stands in the README, against the built package, in a process of its own.
const example = fileURLToPath(new URL("./example.tmp.mjs", import.meta.url));
let gateway: Gateway;
beforeAll(async () => {
  gateway = await Gateway.start();
});
afterAll(async () => {
  await gateway.stop();
  await rm(example, { force: true });
});

test("the README's example prints the premium", async () => {
  const root = fileURLToPath(new URL("..", import.meta.url));
  await new Promise<void>((resolve, reject) => execFile("npm", ["run", "build", "--silent"], { cwd: root }, (err, out) => (err ? reject(new Error(out)) : resolve())));
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const code = /```js\n([\s\S]*?)```/.exec(readme)![1]!;
  expect(code.trim().split("\n").length).toBeLessThanOrEqual(10);
  await writeFile(example, code);
  gateway.publish(1);
  const child = execFile(process.execPath, [example], { env: { ...process.env, HASHPIVOT_URL: gateway.url } });
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout!.once("data", (d) => resolve(String(d)));
    child.stderr!.once("data", (d) => reject(new Error(String(d))));
  });
  child.kill();
  expect(line).toContain("h100-sxm 1 2027-01-15");
}, 60_000);
