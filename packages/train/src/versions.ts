/** Versions of what computes: results belong to them. */
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

function versionOf(file: string): string {
  const { version } = require(file) as { version: string };
  return version;
}

export const VERSIONS: Readonly<Record<string, string>> = {
  "layerwise-train": versionOf("../package.json"),
  layerwise: versionOf("layerwise/package.json"),
  "Node.js": process.versions.node,
};
