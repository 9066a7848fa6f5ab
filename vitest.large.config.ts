import { defineConfig } from "vitest/config";

// Tests that need several GiB of memory and minutes of time: apart from the others, one at a time.
export default defineConfig({
  test: {
    environment: "node",
    include: ["packages/*/test/**/*.large.test.ts"],
    testTimeout: 900_000,
    hookTimeout: 900_000,
    fileParallelism: false,
    reporters: ["default", "./scripts/count-reporter.mjs"],
  },
});
