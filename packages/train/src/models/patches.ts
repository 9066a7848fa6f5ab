/** What LeNet's two convolutions multiply: patches of images, and of what is between. */
import type { Dataset } from "../data/dataset.js";
import { BORDER, KERNEL } from "./lenet-sizes.js";
import type { LenetSizes } from "./lenet-sizes.js";
import type { Batch } from "./model.js";

/** Where the patches go, and how many samples there is room for. */
interface ImagePatches {
  sizes: LenetSizes;
  /** [patch columns, height, width, samples] */
  patches: Float32Array;
  samples: number;
}

/**
 * Writes the 25 values around every pixel of every image, a one and zeros. Outside of an image is 0, the
 * mean; samples beyond the batch are 0.
 */
export function fillImagePatches(
  batch: Batch,
  normalisation: Pick<Dataset, "mean" | "scale">,
  { sizes, patches, samples }: ImagePatches,
): void {
  const { height, width, patchSize, window } = sizes.first;
  const bordered = borderedImages(batch, normalisation, { sizes, samples });
  const line = width * samples;
  const stride = (width + 2 * BORDER) * samples;
  for (let place = 0; place < window; place++) {
    const dx = place % KERNEL;
    const dy = (place - dx) / KERNEL;
    for (let y = 0; y < height; y++) {
      const from = (y + dy) * stride + dx * samples;
      patches.set(bordered.subarray(from, from + line), (place * height + y) * line);
    }
  }
  patches.fill(1, patchSize * height * line, (patchSize + 1) * height * line);
}

/** Standardised images with a border: [height, width, samples]. */
function borderedImages(
  { samples: { features }, rows }: Batch,
  { mean, scale }: Pick<Dataset, "mean" | "scale">,
  { sizes, samples }: Pick<ImagePatches, "sizes" | "samples">,
): Float32Array {
  const { height, width } = sizes.first;
  const columns = width + 2 * BORDER;
  const bordered = new Float32Array((height + 2 * BORDER) * columns * samples);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const to = ((y + BORDER) * columns + x + BORDER) * samples;
      const pixel = y * width + x;
      for (let sample = 0; sample < rows.length; sample++) {
        bordered[to + sample] = (features[rows[sample]! * height * width + pixel]! - mean) * scale;
      }
    }
  }
  return bordered;
}

/**
 * Which line of samples in the pooled images [channels, height, width] each value of the second patches
 * [patch columns, height, width] is. Values of a patch are in the order line, column, channel; those that
 * only fill it up read the first line, and their weights are 0.
 */
export function innerPatchLines({ first, second }: LenetSizes): Int32Array<ArrayBuffer> {
  const height = first.height / 2;
  const width = first.width / 2;
  const lines = new Int32Array(second.patchColumns * second.height * second.width);
  let next = 0;
  for (let value = 0; value < second.patchSize; value++) {
    const channel = value % first.channels;
    const place = (value - channel) / first.channels;
    const dx = place % KERNEL;
    const dy = (place - dx) / KERNEL;
    for (let y = 0; y < second.height; y++) {
      const line = (channel * height + y + dy) * width + dx;
      for (let x = 0; x < second.width; x++) lines[next++] = line + x;
    }
  }
  return lines;
}
