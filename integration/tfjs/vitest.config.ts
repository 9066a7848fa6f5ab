import { defineConfig } from "vitest/config";

// What is tested is what was built: `layerwise` here is packages/layerwise with its dist/.
export default defineConfig({
  test: {
    environment: "node",
    include: ["test/**/*.test.ts"],
    testTimeout: 240_000,
    hookTimeout: 240_000,
    reporters: ["default", "../../scripts/count-reporter.mjs"],
  },
});
