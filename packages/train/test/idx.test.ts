/** IDX sets: what is read, and every way in which one can be wrong. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
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
    expect(refusal({ [name]: null })).toBe(`FOLDER: no file ${name}, plain or with .gz, is there`);
  });

  test("another magic number", () => {
    const wrong = images.slice();
    wrong[2] = 0x0d; // floats
    expect(refusal({ [IMAGES]: wrong })).toBe(
      `FOLDER/${IMAGES}: the magic number is 0x00000d03; allowed is 0x00000803, unsigned bytes in 3 dimensions`,
    );
  });

  test("labels where images should be", () => {
    expect(refusal({ [IMAGES]: labels })).toContain("the magic number is 0x00000801");
  });

  test("a file that is empty, or ends in its magic number or its header", () => {
    expect(refusal({ [LABELS]: new Uint8Array(0) })).toContain("the magic number is cut off");
    expect(refusal({ [LABELS]: labels.subarray(0, 3) })).toContain("the magic number is cut off");
    expect(refusal({ [IMAGES]: images.subarray(0, 12) })).toContain("the header is cut off");
  });

  test("a file that is cut", () => {
    expect(refusal({ [IMAGES]: images.subarray(0, images.length - 1) })).toBe(
      `FOLDER/${IMAGES}: is cut off: 240 × 12 × 12 values are 34560 bytes, there are 34559`,
    );
  });

  test("a file that is too long", () => {
    expect(refusal({ [LABELS]: Uint8Array.of(...labels, 0) })).toBe(
      `FOLDER/${LABELS}: is too long: 240 values are 240 bytes, there are 241`,
    );
  });

  test("sizes that no file can hold", () => {
    const wrong = images.slice();
    wrong.fill(0xff, 4, 16);
    expect(refusal({ [IMAGES]: wrong })).toContain("is cut off: 4294967295 × 4294967295");
  });

  test("no images", () => {
    const empty = { [IMAGES]: idxBytes([0, 12, 12], new Uint8Array(0)) };
    expect(refusal(empty)).toBe(`FOLDER/${IMAGES}: is empty: its sizes are 0 × 12 × 12`);
  });

  test("more labels than images, and fewer", () => {
    expect(refusal({ [LABELS]: idxBytes([241], new Uint8Array(241)) })).toBe(
      `FOLDER/${LABELS} has 241 labels, FOLDER/${IMAGES} has 240 images; allowed is one label for each image`,
    );
    expect(refusal({ [TEST_LABELS]: idxBytes([79], new Uint8Array(79)) })).toContain(
      "has 79 labels",
    );
  });

  test("test images of another size", () => {
    const other = idxFiles({ side: 16 });
    expect(refusal({ [TEST_IMAGES]: other[TEST_IMAGES]! })).toBe(
      "FOLDER: training images are 12 × 12, test images 16 × 16; allowed is one size",
    );
  });

  test("one class only", () => {
    expect(refusal({ [LABELS]: idxBytes([240], new Uint8Array(240).fill(7)) })).toBe(
      "FOLDER: all training labels are 7; a classifier needs two classes or more",
    );
  });

  test("a test label beyond the training labels", () => {
    const wrong = new Uint8Array(80);
    wrong[5] = 9;
    expect(refusal({ [TEST_LABELS]: idxBytes([80], wrong) })).toBe(
      "FOLDER: the test labels have class 9; the training labels end at 3",
    );
  });

  test("pixels that are all the same", () => {
    const blank = idxBytes([240, 12, 12], new Uint8Array(240 * 144).fill(3));
    expect(refusal({ [IMAGES]: blank })).toContain("all training pixels are 3");
  });

  test("a .gz file that is no gzip, and one that is cut", () => {
    const folder = writeFiles(join(temporary.path, "no-gzip"), idxFiles(), { gzip: true });
    writeFiles(folder, { [`${IMAGES}.gz`]: "these are words" });
    expect(() => readIdxFolder(folder, "test")).toThrow(`${IMAGES}.gz: can't be unpacked`);
  });

  test("a folder where a file should be", () => {
    const folder = folderWith({ [IMAGES]: null });
    writeFiles(join(folder, IMAGES), {});
    expect(() => readIdxFolder(folder, "test")).toThrow(`${IMAGES}: can't be read`);
  });
});
