import { defineConfig } from "vitest/config";

// What is tested is what was built: `layerwise` here is packages/layerwise with its dist/.
export default defineConfig({
  test: {
    environment: "node",
    include: ["test/**/*.test.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Processes of MPI wait busily: two jobs at a time would wait for each other.
    fileParallelism: false,
    reporters: ["default", "../../scripts/count-reporter.mjs"],
  },
});
