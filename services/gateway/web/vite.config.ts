import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { type Plugin, defineConfig } from "vite";

const contracts = fileURLToPath(new URL("../../../schemas/reference/contracts.yaml", import.meta.url));

interface Reference {
  contracts: { symbol: string; signed: string; exact: boolean; title: string }[];
  events: { symbol: string; date: string; kind: string; exact: boolean; title: string }[];
}

/** The reference list of contracts and events as a module: it changes with releases, as the page does. */
function events(): Plugin {
  const id = "virtual:events";
  return {
    name: "hashpivot-events",
    resolveId: (source) => (source === id ? `\0${id}` : undefined),
    load(module) {
      if (module !== `\0${id}`) return undefined;
      this.addWatchFile(contracts);
      const r = parse(readFileSync(contracts, "utf8")) as Reference;
      const list = [
        ...r.contracts.map((c) => ({ symbol: c.symbol, date: c.signed, kind: "ai-contract", exact: c.exact, title: c.title })),
        ...r.events.map((e) => ({ symbol: e.symbol, date: e.date, kind: e.kind, exact: e.exact, title: e.title })),
      ].sort((a, b) => (a.date < b.date ? -1 : a.date > b.date ? 1 : 0));
      return `export default ${JSON.stringify(list)}`;
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [events()],
  resolve: { alias: { "@hashpivot/client": fileURLToPath(new URL("./client/src/index.ts", import.meta.url)) } },
  // A gateway of one's own behind the development server: HASHPIVOT=http://127.0.0.1:8080 npm run dev
  server: { host: "127.0.0.1", proxy: { "/v1": { target: process.env["HASHPIVOT"] ?? "http://127.0.0.1:8080", ws: true } } },
  build: { target: "es2022", modulePreload: { polyfill: false }, assetsInlineLimit: 0, reportCompressedSize: false },
});
