import { defineConfig } from "vitest/config";
import config from "./vitest.config.js";

// Takes minutes where processes wait busily on few cores: not part of `npm run test:mpi`.
export default defineConfig({
  ...config,
  test: { ...config.test, include: ["large/**/*.test.ts"] },
});
