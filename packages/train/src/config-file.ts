/** JSON files that name their format and version: config.json, sweep.json, search.json. */
import { parseObject } from "./check.js";
import { UsageError } from "./errors.js";
import { readLimited } from "./files.js";

const MAX_BYTES = 2 ** 24;

/** @throws UsageError unless the file is an object of that format and version */
export function readConfigFile(
  file: string,
  expected: { format: string; version: number },
): Record<string, unknown> {
  return parseConfig(file, readLimited(file, MAX_BYTES), expected);
}

/**
 * @param file for errors
 * @throws UsageError unless the bytes are an object of that format and version
 */
export function parseConfig(
  file: string,
  bytes: Uint8Array,
  expected: { format: string; version: number },
): Record<string, unknown> {
  const config = parseObject(file, Buffer.from(bytes).toString());
  const { format, version } = config;
  if (format === expected.format && version === expected.version) return config;
  throw new UsageError(
    `${file}: expected format "${expected.format}", version ${expected.version}, got format ${JSON.stringify(format)}, version ${JSON.stringify(version)}`,
  );
}
