import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  resolve: { alias: { "@hashpivot/client": fileURLToPath(new URL("./client/src/index.ts", import.meta.url)) } },
  // A gateway of one's own behind the development server: HASHPIVOT=http://127.0.0.1:8080 npm run dev
  server: { host: "127.0.0.1", proxy: { "/v1": { target: process.env["HASHPIVOT"] ?? "http://127.0.0.1:8080", ws: true } } },
  build: { target: "es2022", modulePreload: { polyfill: false }, assetsInlineLimit: 0, reportCompressedSize: false },
});
