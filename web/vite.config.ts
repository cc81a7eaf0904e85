import { readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const outDir = fileURLToPath(new URL("../internal/console/dist", import.meta.url));

/**
 * Empties the output folder but for .keep, which lets the Go package that
 * embeds the folder compile before the console has been built.
 */
function emptyOutput(): Plugin {
  return {
    name: "empty-output",
    apply: "build",
    buildStart() {
      for (const name of readdirSync(outDir)) {
        if (name !== ".keep") rmSync(`${outDir}/${name}`, { recursive: true });
      }
    },
  };
}

export default defineConfig({
  plugins: [emptyOutput()],
  build: {
    outDir,
    emptyOutDir: false,
    // noVNC awaits at top level.
    target: "es2022",
    // The first versions with light-dark(); rewriting it for older ones would fix
    // the colours at the root, and the viewer is dark in both themes.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // Everything stays a file of its own: the content security policy allows
    // data: for images alone.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      "/api": { target: process.env["STREAMSPACE_SERVER"] ?? "http://127.0.0.1:8099", ws: true },
    },
  },
});
