// Removes everything that a build writes.

import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("../", import.meta.url);
const built = [
  "packages/layerwise/dist",
  "packages/layerwise/src/kernels/wasm/binary.generated.ts",
  "packages/layerwise/src/kernels/wasm/constants.generated.ts",
  "packages/train/dist",
  "node_modules/.cache/tools.tsbuildinfo",
];

for (const path of built) {
  rmSync(fileURLToPath(new URL(path, root)), { recursive: true, force: true });
}
