/** Which versions are installed. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The version of this package. */
export function trainerVersion(): string {
  return versionAbove(fileURLToPath(import.meta.url), "layerwise-train");
}

/** The version of a package that this one depends on. */
export function versionOf(name: string): string {
  const require = createRequire(import.meta.url);
  return versionAbove(require.resolve(name), name);
}

/** A package need not export its package.json: it is looked for above one of its files. */
function versionAbove(file: string, name: string): string {
  const folder = dirname(file);
  const manifest = join(folder, "package.json");
  if (existsSync(manifest)) {
    const parsed = JSON.parse(readFileSync(manifest, "utf8")) as Record<string, unknown>;
    if (parsed.name === name && typeof parsed.version === "string") return parsed.version;
  }
  return folder === file ? "unknown" : versionAbove(folder, name);
}
