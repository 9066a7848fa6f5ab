/** Versions of the software that computes the results. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const VERSIONS: Readonly<Record<string, string>> = {
  "layerwise-train": versionAbove(fileURLToPath(import.meta.url), "layerwise-train"),
  layerwise: versionOf("layerwise"),
  "jax-js": versionOf("@jax-js/jax"),
  "Node.js": process.versions.node,
};

function versionOf(name: string): string {
  return versionAbove(createRequire(import.meta.url).resolve(name), name);
}

/** Looks for package.json above one of the package's files, because a package need not export it. */
function versionAbove(file: string, name: string): string {
  const folder = dirname(file);
  const manifest = join(folder, "package.json");
  if (existsSync(manifest)) {
    const parsed = JSON.parse(readFileSync(manifest, "utf8")) as Record<string, unknown>;
    if (parsed.name === name && typeof parsed.version === "string") return parsed.version;
  }
  return folder === file ? "unknown" : versionAbove(folder, name);
}
