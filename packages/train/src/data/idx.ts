/**
 * The IDX format of MNIST: a magic number, the sizes, then bytes. Plain or gzipped.
 *
 * Source: http://yann.lecun.com/exdb/mnist/, "File formats".
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { UsageError, messageOf } from "../errors.js";
import { readLimited } from "../files.js";
import { sharedUint16 } from "./dataset.js";
import type { Dataset, Samples } from "./dataset.js";

/** 0x08 says unsigned bytes; the last digit is the number of dimensions. */
const IMAGES_MAGIC = 0x00000803;
const LABELS_MAGIC = 0x00000801;

/** A file that is larger than this, packed or unpacked, is refused: 2 GiB. */
const MAX_BYTES = 2 ** 31;

interface Idx {
  sizes: number[];
  values: Uint8Array;
}

/**
 * Reads the four files of an IDX data set.
 *
 * @param folder holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the same of t10k; each may
 *   end in .gz
 * @throws UsageError that names the file and what is wrong with it
 */
export function readIdxFolder(folder: string, name: string): Dataset {
  const train = readPart(folder, "train");
  const test = readPart(folder, "t10k");
  const [, height, width] = train.sizes as [number, number, number];
  if (test.sizes[1] !== height || test.sizes[2] !== width) {
    throw new UsageError(
      `${folder}: training images are ${height} × ${width}, test images ${String(test.sizes[1])} × ${String(test.sizes[2])}; allowed is one size`,
    );
  }
  const classes = classCount(folder, train.samples, test.samples);
  return {
    name,
    featureShape: [height, width],
    classes: Array.from({ length: classes }, (_, index) => String(index)),
    train: train.samples,
    test: test.samples,
    ...statistics(folder, train.samples.features),
  };
}

function readPart(folder: string, part: string): { sizes: number[]; samples: Samples } {
  const imagesFile = find(folder, `${part}-images`, "idx3-ubyte");
  const labelsFile = find(folder, `${part}-labels`, "idx1-ubyte");
  const images = readIdx(imagesFile, IMAGES_MAGIC);
  const labels = readIdx(labelsFile, LABELS_MAGIC);
  if (images.sizes[0] !== labels.sizes[0]) {
    throw new UsageError(
      `${labelsFile} has ${String(labels.sizes[0])} labels, ${imagesFile} has ${String(images.sizes[0])} images; allowed is one label for each image`,
    );
  }
  const features = new Uint8Array(new SharedArrayBuffer(images.values.length));
  features.set(images.values);
  return { sizes: images.sizes, samples: { features, labels: sharedUint16(labels.values) } };
}

/** Both spellings that are about: train-images-idx3-ubyte and train-images.idx3-ubyte. */
function find(folder: string, part: string, kind: string): string {
  const names = [`${part}-${kind}`, `${part}.${kind}`].flatMap((name) => [name, `${name}.gz`]);
  const found = names.map((name) => join(folder, name)).find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new UsageError(`${folder}: no file ${String(names[0])}, plain or with .gz, is there`);
}

/**
 * Reads one file.
 *
 * @throws UsageError when it is not an IDX file of that kind, is cut, or is longer than it says
 */
export function readIdx(file: string, magic: number): Idx {
  const bytes = readBytes(file);
  const dimensions = magic & 0xff;
  const headerLength = 4 + 4 * dimensions;
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = bytes.length >= 4 ? header.getUint32(0) : null;
  if (found !== magic) {
    throw new UsageError(
      `${file}: the magic number is ${found === null ? "cut off" : hexadecimal(found)}; allowed is ${hexadecimal(magic)}, unsigned bytes in ${dimensions} ${dimensions === 1 ? "dimension" : "dimensions"}`,
    );
  }
  if (bytes.length < headerLength) throw new UsageError(`${file}: the header is cut off`);
  const sizes = Array.from({ length: dimensions }, (_, index) => header.getUint32(4 + 4 * index));
  const expected = sizes.reduce((product, size) => product * size, 1);
  if (expected === 0) throw new UsageError(`${file}: is empty: its sizes are ${sizes.join(" × ")}`);
  const actual = bytes.length - headerLength;
  if (actual !== expected) {
    throw new UsageError(
      `${file}: ${actual < expected ? "is cut off" : "is too long"}: ${sizes.join(" × ")} values are ${expected} bytes, there are ${actual}`,
    );
  }
  return { sizes, values: bytes.subarray(headerLength) };
}

function hexadecimal(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}

function readBytes(file: string): Uint8Array {
  const bytes = readLimited(file, MAX_BYTES);
  if (!file.endsWith(".gz")) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_BYTES });
  } catch (error) {
    throw new UsageError(`${file}: can't be unpacked: ${messageOf(error)}`);
  }
}

function classCount(folder: string, train: Samples, test: Samples): number {
  const seen = new Set(train.labels);
  if (seen.size < 2) {
    throw new UsageError(
      `${folder}: all training labels are ${String(train.labels[0])}; a classifier needs two classes or more`,
    );
  }
  const classes = Math.max(...seen) + 1;
  const unknown = test.labels.find((label) => label >= classes);
  if (unknown !== undefined) {
    throw new UsageError(
      `${folder}: the test labels have class ${unknown}; the training labels end at ${classes - 1}`,
    );
  }
  return classes;
}

/** Mean and deviation of all training pixels, which the values are standardised with. */
function statistics(
  folder: string,
  features: Uint8Array | Float32Array,
): Pick<Dataset, "mean" | "scale"> {
  const counts = new Float64Array(256);
  for (const value of features) counts[value]!++;
  let sum = 0;
  let squares = 0;
  counts.forEach((count, value) => {
    sum += count * value;
    squares += count * value * value;
  });
  const mean = sum / features.length;
  const variance = squares / features.length - mean * mean;
  if (variance <= 0) {
    throw new UsageError(`${folder}: all training pixels are ${mean}; there is nothing to learn`);
  }
  return { mean, scale: 1 / Math.sqrt(variance) };
}
