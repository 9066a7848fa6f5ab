/**
 * The IDX format of MNIST: a magic number, the sizes, then bytes. Plain or gzipped.
 *
 * Source: http://yann.lecun.com/exdb/mnist/, "File formats".
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { constants, gunzipSync } from "node:zlib";
import { UsageError, messageOf } from "../errors.js";
import { readLimited } from "../files.js";
import { sharedUint16 } from "./dataset.js";
import type { Dataset, Samples } from "./dataset.js";

/** 0x08 says unsigned bytes; the last digit is the number of dimensions. */
const IMAGES_MAGIC = 0x00000803;
const LABELS_MAGIC = 0x00000801;

/** A file that is larger than this, packed or unpacked, is refused: 2 GiB. */
const MAX_BYTES = 2 ** 31;
/** Enough of a packed file to contain the header, after gzip's names and comments. */
const PACKED_START = 4096;

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
      `${folder}: expected test images of ${height} × ${width} as in training, got ${String(test.sizes[1])} × ${String(test.sizes[2])}`,
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
      `${labelsFile}: expected ${String(images.sizes[0])} labels, one for each image of ${imagesFile}, got ${String(labels.sizes[0])}`,
    );
  }
  const features = new Uint8Array(new SharedArrayBuffer(images.values.length));
  features.set(images.values);
  const classes = sharedUint16(labels.values.length);
  classes.set(labels.values);
  return { sizes: images.sizes, samples: { features, labels: classes } };
}

/** Both spellings in use: train-images-idx3-ubyte and train-images.idx3-ubyte. */
function find(folder: string, part: string, kind: string): string {
  const names = [`${part}-${kind}`, `${part}.${kind}`].flatMap((name) => [name, `${name}.gz`]);
  const found = names.map((name) => join(folder, name)).find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new UsageError(
    `${folder}: expected a file ${String(names[0])}, plain or with .gz, got none`,
  );
}

/**
 * Reads one file.
 *
 * @throws UsageError when it is not an IDX file of that kind, is cut, or is longer than it says
 */
export function readIdx(file: string, magic: number): Idx {
  const bytes = readLimited(file, MAX_BYTES);
  const isPacked = file.endsWith(".gz");
  const sizes = readSizes(file, isPacked ? unpackStart(file, bytes) : bytes, magic);
  const expected = sizes.reduce((product, size) => product * size, 1);
  if (expected === 0) {
    throw new UsageError(`${file}: expected values, got sizes ${sizes.join(" × ")}`);
  }
  if (expected > MAX_BYTES) {
    throw new UsageError(
      `${file}: expected at most ${MAX_BYTES} values, got sizes ${sizes.join(" × ")}`,
    );
  }
  const says = `${file}: expected ${sizes.join(" × ")} values, which are ${expected} bytes`;
  const length = headerLength(magic) + expected;
  const all = isPacked ? unpack(file, bytes, { length, says }) : bytes;
  const values = all.subarray(headerLength(magic));
  if (values.length !== expected) throw new UsageError(`${says}, got ${values.length}`);
  return { sizes, values };
}

function headerLength(magic: number): number {
  return 4 + 4 * (magic & 0xff);
}

function readSizes(file: string, bytes: Uint8Array, magic: number): number[] {
  const dimensions = magic & 0xff;
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = bytes.length >= 4 ? header.getUint32(0) : null;
  if (found !== magic) {
    throw new UsageError(
      `${file}: expected the magic number ${hexadecimal(magic)}, unsigned bytes in ${dimensions} ${dimensions === 1 ? "dimension" : "dimensions"}, got ${found === null ? `${bytes.length} bytes` : hexadecimal(found)}`,
    );
  }
  if (bytes.length < headerLength(magic)) {
    throw new UsageError(
      `${file}: expected a header of ${headerLength(magic)} bytes, got ${bytes.length}`,
    );
  }
  return Array.from({ length: dimensions }, (_, index) => header.getUint32(4 + 4 * index));
}

function hexadecimal(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}

/** The header of a packed file. Deflate expands at most 1,032-fold, so the unpacked start is small. */
function unpackStart(file: string, bytes: Uint8Array): Uint8Array {
  try {
    return gunzipSync(bytes.subarray(0, PACKED_START), { finishFlush: constants.Z_SYNC_FLUSH });
  } catch (error) {
    throw notUnpacked(file, error);
  }
}

/** Unpacks a file, and stops when it is longer than its header says. */
function unpack(
  file: string,
  bytes: Uint8Array,
  { length, says }: { length: number; says: string },
): Uint8Array {
  try {
    return gunzipSync(bytes, { maxOutputLength: length });
  } catch (error) {
    const isLonger =
      error instanceof Error && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE";
    if (isLonger) throw new UsageError(`${says}, got more`);
    throw notUnpacked(file, error);
  }
}

function notUnpacked(file: string, error: unknown): UsageError {
  return new UsageError(`${file}: expected a gzip, got: ${messageOf(error)}`);
}

function classCount(folder: string, train: Samples, test: Samples): number {
  const seen = new Set(train.labels);
  if (seen.size < 2) {
    throw new UsageError(
      `${folder}: expected two classes or more, got ${String(train.labels[0])} in all training labels`,
    );
  }
  const classes = Math.max(...seen) + 1;
  const unknown = test.labels.find((label) => label >= classes);
  if (unknown !== undefined) {
    throw new UsageError(
      `${folder}: expected test labels up to ${classes - 1} as in training, got ${unknown}`,
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
    throw new UsageError(`${folder}: expected training pixels that differ, got ${mean} in all`);
  }
  return { mean, scale: 1 / Math.sqrt(variance) };
}
