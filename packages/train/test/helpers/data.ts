/** Small data sets in the trainer's formats, the same on every run. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Random } from "../../src/random.js";

/** A folder that is gone after the tests of a file. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "layerwise-train-"));
  return {
    path,
    remove: () => {
      rmSync(path, { recursive: true, force: true });
    },
  };
}

/** IDX bytes: the magic number of unsigned bytes, sizes, values. */
export function idxBytes(sizes: readonly number[], values: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * sizes.length + values.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x0800 + sizes.length);
  sizes.forEach((size, index) => {
    view.setUint32(4 + 4 * index, size);
  });
  bytes.set(values, 4 + 4 * sizes.length);
  return bytes;
}

/** Images of a side with one bright quarter, which is the class, under noise. */
function quarters(
  count: number,
  side: number,
  stream: number,
): { images: Uint8Array; labels: Uint8Array } {
  const random = new Random(3, stream);
  const labels = Uint8Array.from({ length: count }, (_, index) => index % 4);
  const images = new Uint8Array(count * side * side);
  for (let pixel = 0; pixel < images.length; pixel++) {
    const label = labels[Math.floor(pixel / (side * side))]!;
    const y = Math.floor(pixel / side) % side;
    const x = pixel % side;
    const quarter = (y < side / 2 ? 0 : 2) + (x < side / 2 ? 0 : 1);
    images[pixel] = 100 + random.uniform(90) + (quarter === label ? 40 : 0);
  }
  return { images, labels };
}

/** The four files of an IDX set, by name. */
export function idxFiles(
  options: { train?: number; side?: number } = {},
): Record<string, Uint8Array> {
  const { train = 240, side = 12 } = options;
  const files: Record<string, Uint8Array> = {};
  [
    { part: "train", count: train },
    { part: "t10k", count: 80 },
  ].forEach(({ part, count }, stream) => {
    const { images, labels } = quarters(count, side, stream);
    files[`${part}-images-idx3-ubyte`] = idxBytes([count, side, side], images);
    files[`${part}-labels-idx1-ubyte`] = idxBytes([count], labels);
  });
  return files;
}

export function writeFiles(
  folder: string,
  files: Readonly<Record<string, Uint8Array | string>>,
  { gzip = false } = {},
): string {
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    if (gzip) writeFileSync(join(folder, `${name}.gz`), gzipSync(content));
    else writeFileSync(join(folder, name), content);
  }
  return folder;
}

/** Three groups of points in three columns, with words for classes. */
export function csvText(rows = 150): string {
  const random = new Random(5, 0);
  const lines = Array.from({ length: rows }, (_, index) => {
    const group = index % 3;
    const numbers = [group * 4, -group * 3, (group % 2) * 5].map((center) =>
      (center + random.uniform(1)).toFixed(4),
    );
    return [...numbers, ["red", "green", "blue"][group]].join(",");
  });
  return ["length,width,depth,kind", ...lines, ""].join("\n");
}
