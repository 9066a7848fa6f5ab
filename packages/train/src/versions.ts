/** Versions of what computes: results belong to them. */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);
/** It exports no package.json. */
const jaxFolder = join(dirname(require.resolve("@jax-js/jax")), "..");

function versionOf(file: string): string {
  const { version } = require(file) as { version: string };
  return version;
}

export const VERSIONS: Readonly<Record<string, string>> = {
  "layerwise-train": versionOf("../package.json"),
  layerwise: versionOf("layerwise/package.json"),
  "jax-js": versionOf(join(jaxFolder, "package.json")),
  "Node.js": process.versions.node,
};
