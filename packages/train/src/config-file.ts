/** config.json and sweep.json: what a folder was started with. */
import { parseObject } from "./check.js";
import { UsageError } from "./errors.js";
import { readLimited } from "./files.js";

const MAX_BYTES = 2 ** 24;

/** @throws UsageError unless the file is an object that says its format and version */
export function readConfigFile(
  file: string,
  expected: { format: string; version: number },
): Record<string, unknown> {
  const config = parseObject(file, readLimited(file, MAX_BYTES).toString());
  const { format, version } = config;
  if (format === expected.format && version === expected.version) return config;
  throw new UsageError(
    `${file}: expected format "${expected.format}", version ${expected.version}, got format ${JSON.stringify(format)}, version ${JSON.stringify(version)}`,
  );
}
