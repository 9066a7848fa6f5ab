/** A data set in memory that worker threads share. */
import { createHash } from "node:crypto";

/** Samples and their classes. */
export interface Samples {
  /** All values of the first sample, then of the second, … */
  readonly features: Uint8Array | Float32Array;
  /** Class of each sample, from 0. */
  readonly labels: Uint16Array;
}

/** A training set and a test set, with their shape and statistics. */
export interface Dataset {
  readonly name: string;
  /** Height and width of an image, or the number of columns of a table. */
  readonly featureShape: readonly number[];
  readonly classes: readonly string[];
  readonly train: Samples;
  readonly test: Samples;
  /** What a model sees is (value − mean) · scale. */
  readonly mean: number;
  readonly scale: number;
}

/** Values of one sample. */
export function featureCount({ featureShape }: Pick<Dataset, "featureShape">): number {
  return featureShape.reduce((product, size) => product * size, 1);
}

/** 0, 1, 2, … */
export function rowsUpTo(count: number): Int32Array<ArrayBuffer> {
  return Int32Array.from({ length: count }, (_, row) => row);
}

/** An array in shared memory: worker threads see it without a copy. */
export function sharedFloat32(length: number): Float32Array<SharedArrayBuffer> {
  return new Float32Array(new SharedArrayBuffer(length * Float32Array.BYTES_PER_ELEMENT));
}

export function sharedUint16(length: number): Uint16Array<SharedArrayBuffer> {
  return new Uint16Array(new SharedArrayBuffer(length * Uint16Array.BYTES_PER_ELEMENT));
}

export function sharedInt32(length: number): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(length * Int32Array.BYTES_PER_ELEMENT));
}

/** A hash of the data, so that a run resumes on the data it started with. */
export function fingerprint(dataset: Dataset): string {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([dataset.featureShape, dataset.classes, dataset.mean, dataset.scale]));
  for (const { features, labels } of [dataset.train, dataset.test]) {
    for (const array of [features, labels]) {
      hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
    }
  }
  return hash.digest("hex");
}
