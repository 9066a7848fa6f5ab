/** IDX sets: what is read, and every way in which one can be wrong. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { fingerprint } from "../src/data/dataset.js";
import { readIdxFolder } from "../src/data/idx.js";
import { loadDataset } from "../src/data/load.js";
import { idxBytes, idxFiles, temporaryFolder, writeFiles } from "./helpers/data.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);

const IMAGES = "train-images-idx3-ubyte";
const LABELS = "train-labels-idx1-ubyte";
const TEST_IMAGES = "t10k-images-idx3-ubyte";
const TEST_LABELS = "t10k-labels-idx1-ubyte";

let folders = 0;
function folderWith(changes: Record<string, Uint8Array | null>): string {
  const files = Object.entries({ ...idxFiles(), ...changes }).filter(([, bytes]) => bytes !== null);
  const folder = join(temporary.path, String(folders++));
  return writeFiles(folder, Object.fromEntries(files) as Record<string, Uint8Array>);
}

/** The message of what reading a folder throws, which must be a UsageError. */
function refusal(changes: Record<string, Uint8Array | null>): string {
  const folder = folderWith(changes);
  try {
    readIdxFolder(folder, "test");
  } catch (error) {
    expect(error).toMatchObject({ name: "UsageError" });
    return (error as Error).message.replaceAll(folder, "FOLDER");
  }
  throw new Error("nothing was thrown");
}

describe("what is read", () => {
  test("sizes, classes, pixels and labels", () => {
    const dataset = readIdxFolder(folderWith({}), "test");
    expect(dataset).toMatchObject({ featureShape: [12, 12], classes: ["0", "1", "2", "3"] });
    expect(dataset.train.labels.subarray(0, 5)).toEqual(Uint16Array.of(0, 1, 2, 3, 0));
    expect([...dataset.train.features]).toEqual([...idxFiles()[IMAGES]!.subarray(16)]);
    expect(dataset.test.labels).toHaveLength(80);
  });

  test("the mean and the deviation of the training pixels", () => {
    const { train, mean, scale } = readIdxFolder(folderWith({}), "test");
    const values = [...train.features].map((value) => (value - mean) * scale);
    const sum = values.reduce((total, value) => total + value, 0);
    const squares = values.reduce((total, value) => total + value * value, 0);
    expect(sum / values.length).toBeCloseTo(0, 10);
    expect(squares / values.length).toBeCloseTo(1, 10);
  });

  test("gzipped files are the same set", () => {
    const folder = writeFiles(join(temporary.path, "packed"), idxFiles(), { gzip: true });
    const packed = fingerprint(readIdxFolder(folder, "packed"));
    expect(packed).toBe(fingerprint(readIdxFolder(folderWith({}), "plain")));
  });

  test("the other spelling of the names", () => {
    const files = idxFiles();
    const renamed = Object.fromEntries(
      Object.entries(files).map(([name, bytes]) => [name.replace("-idx", ".idx"), bytes]),
    );
    const folder = writeFiles(join(temporary.path, "renamed"), renamed);
    expect(readIdxFolder(folder, "renamed").train.labels).toHaveLength(240);
  });
});

describe("the digits that come with npm", () => {
  const dataset = loadDataset({ data: null, label: null, seed: 1 });

  test("60,000 and 10,000 images of 28 × 28 in 10 classes", () => {
    expect(dataset).toMatchObject({ name: "MNIST", featureShape: [28, 28] });
    expect(dataset.classes).toHaveLength(10);
    expect(dataset.train.features).toHaveLength(60_000 * 784);
    expect(dataset.test.features).toHaveLength(10_000 * 784);
    // The first digits of MNIST, and its well-known mean: 0.1307 of 255.
    expect([...dataset.train.labels.subarray(0, 6)]).toEqual([5, 0, 4, 1, 9, 2]);
    expect([...dataset.test.labels.subarray(0, 6)]).toEqual([7, 2, 1, 0, 4, 1]);
    expect(dataset.mean / 255).toBeCloseTo(0.1307, 4);
    expect(1 / dataset.scale / 255).toBeCloseTo(0.3081, 4);
  });
});

/** Where Debian's package has its files, or null where it is not installed. */
function fashionMnist(): string | null {
  try {
    const files = execFileSync("dpkg", ["-L", "dataset-fashion-mnist"], { stdio: "pipe" });
    const images = files
      .toString()
      .split("\n")
      .find((file) => file.includes(IMAGES));
    return images === undefined ? null : join(images, "..");
  } catch {
    return null;
  }
}

describe("Fashion-MNIST from Debian's dataset-fashion-mnist", () => {
  const folder = fashionMnist();

  test.skipIf(folder === null)("60,000 and 10,000 gzipped images in 10 classes", () => {
    const dataset = loadDataset({ data: folder, label: null, seed: 1 });
    expect(dataset.classes).toHaveLength(10);
    expect(dataset.train.labels).toHaveLength(60_000);
    expect(dataset.test.labels).toHaveLength(10_000);
    expect([...dataset.train.labels.subarray(0, 4)]).toEqual([9, 0, 0, 3]);
  });
});

describe("what is refused", () => {
  const files = idxFiles();
  const images = files[IMAGES]!;
  const labels = files[LABELS]!;

  test.each([IMAGES, LABELS, TEST_IMAGES, TEST_LABELS])("a folder without %s", (name) => {
    expect(refusal({ [name]: null })).toBe(
      `FOLDER: expected a file ${name}, plain or with .gz, got none`,
    );
  });

  test("another magic number", () => {
    const wrong = images.slice();
    wrong[2] = 0x0d; // floats
    expect(refusal({ [IMAGES]: wrong })).toBe(
      `FOLDER/${IMAGES}: expected the magic number 0x00000803, unsigned bytes in 3 dimensions, got 0x00000d03`,
    );
  });

  test("labels where images should be", () => {
    expect(refusal({ [IMAGES]: labels })).toContain("got 0x00000801");
  });

  test("a file that is empty, or ends in its magic number or its header", () => {
    expect(refusal({ [LABELS]: new Uint8Array(0) })).toContain("got 0 bytes");
    expect(refusal({ [LABELS]: labels.subarray(0, 3) })).toContain("got 3 bytes");
    expect(refusal({ [IMAGES]: images.subarray(0, 12) })).toContain(
      "expected a header of 16 bytes, got 12",
    );
  });

  test("a file that is cut", () => {
    expect(refusal({ [IMAGES]: images.subarray(0, images.length - 1) })).toBe(
      `FOLDER/${IMAGES}: expected 240 × 12 × 12 values, which are 34560 bytes, got 34559`,
    );
  });

  test("a file that is too long", () => {
    expect(refusal({ [LABELS]: Uint8Array.of(...labels, 0) })).toBe(
      `FOLDER/${LABELS}: expected 240 values, which are 240 bytes, got 241`,
    );
  });

  test("sizes that no file can hold", () => {
    const wrong = images.slice();
    wrong.fill(0xff, 4, 16);
    expect(refusal({ [IMAGES]: wrong })).toContain(
      "expected at most 2147483648 values, got sizes 4294967295 × 4294967295",
    );
  });

  test("no images", () => {
    const empty = { [IMAGES]: idxBytes([0, 12, 12], new Uint8Array(0)) };
    expect(refusal(empty)).toBe(`FOLDER/${IMAGES}: expected values, got sizes 0 × 12 × 12`);
  });

  test("more labels than images, and fewer", () => {
    expect(refusal({ [LABELS]: idxBytes([241], new Uint8Array(241)) })).toBe(
      `FOLDER/${LABELS}: expected 240 labels, one for each image of FOLDER/${IMAGES}, got 241`,
    );
    expect(refusal({ [TEST_LABELS]: idxBytes([79], new Uint8Array(79)) })).toContain("got 79");
  });

  test("test images of another size", () => {
    const other = idxFiles({ side: 16 });
    expect(refusal({ [TEST_IMAGES]: other[TEST_IMAGES]! })).toBe(
      "FOLDER: expected test images of 12 × 12 as in training, got 16 × 16",
    );
  });

  test("one class only", () => {
    expect(refusal({ [LABELS]: idxBytes([240], new Uint8Array(240).fill(7)) })).toBe(
      "FOLDER: expected two classes or more, got 7 in all training labels",
    );
  });

  test("a test label beyond the training labels", () => {
    const wrong = new Uint8Array(80);
    wrong[5] = 9;
    expect(refusal({ [TEST_LABELS]: idxBytes([80], wrong) })).toBe(
      "FOLDER: expected test labels up to 3 as in training, got 9",
    );
  });

  test("pixels that are all the same", () => {
    const blank = idxBytes([240, 12, 12], new Uint8Array(240 * 144).fill(3));
    expect(refusal({ [IMAGES]: blank })).toContain(
      "expected training pixels that differ, got 3 in all",
    );
  });

  test("a .gz file that is no gzip, and one that is cut", () => {
    const folder = writeFiles(join(temporary.path, "no-gzip"), idxFiles(), { gzip: true });
    writeFiles(folder, { [`${IMAGES}.gz`]: "these are words" });
    expect(() => readIdxFolder(folder, "test")).toThrow(`${IMAGES}.gz: expected a gzip`);
  });

  test("a .gz file that unpacks to more than its header says, early", () => {
    const folder = writeFiles(join(temporary.path, "bomb"), idxFiles(), { gzip: true });
    // 1 GB would take seconds and the memory; what the header says is 34,560 bytes.
    const zeros = gzipSync(new Uint8Array(2 ** 24));
    const bomb = Buffer.concat([gzipSync(images), ...Array.from({ length: 64 }, () => zeros)]);
    writeFiles(folder, { [`${IMAGES}.gz`]: bomb });
    const before = process.memoryUsage().arrayBuffers;
    expect(() => readIdxFolder(folder, "test")).toThrow("which are 34560 bytes, got more");
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 28);
  });

  test("a folder where a file should be", () => {
    const folder = folderWith({ [IMAGES]: null });
    writeFiles(join(folder, IMAGES), {});
    expect(() => readIdxFolder(folder, "test")).toThrow(`${IMAGES}: expected a file, got a folder`);
  });
});
