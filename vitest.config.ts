import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The trainer's tests see the library's sources; the command lines they start run what was built.
const source = (file: string) =>
  fileURLToPath(new URL(`packages/layerwise/src/${file}`, import.meta.url));

export default defineConfig({
  test: {
    environment: "node",
    // Two steps of a network can take seconds on a small machine that does other things too.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ["default", "./scripts/count-reporter.mjs"],
    projects: [
      {
        extends: true,
        test: {
          name: "layerwise",
          root: "packages/layerwise",
          include: ["test/**/*.test.ts"],
          exclude: ["**/*.large.test.ts"],
          typecheck: {
            enabled: true,
            include: ["test/**/*.test-d.ts"],
            tsconfig: "test/tsconfig.json",
          },
        },
      },
      {
        extends: true,
        resolve: {
          alias: [
            { find: /^layerwise$/, replacement: source("index.ts") },
            { find: /^layerwise\/(\w+)$/, replacement: source("$1.ts") },
          ],
        },
        test: {
          name: "layerwise-train",
          root: "packages/train",
          include: ["test/**/*.test.ts"],
          exclude: ["**/*.large.test.ts"],
        },
      },
    ],
  },
});
