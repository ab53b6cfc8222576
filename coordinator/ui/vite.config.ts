import { defineConfig } from "vite";

// One script, one style sheet, names by content: the same source gives the same bytes.
export default defineConfig({
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: true,
    rollupOptions: { output: { codeSplitting: false } },
  },
  server: {
    // For development: the mock, or a real coordinator.
    proxy: { "/v1": process.env.WARREN_URL ?? "http://127.0.0.1:4180" },
  },
});
