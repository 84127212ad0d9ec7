import { defineConfig } from "vite";

// The node serves index.html at / and everything else below /explorer/.
export default defineConfig({
  base: "/explorer/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../engine/cherrydag/explorer/static",
    emptyOutDir: true,
    target: "es2022",
    assetsDir: "assets",
    assetsInlineLimit: 0, // the content security policy allows no data: but for images
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    license: { fileName: "licenses.md" }, // of what is bundled: their notices go with it
  },
  server: { proxy: { "/ws": { target: "ws://127.0.0.1:8645", ws: true } } },
});
