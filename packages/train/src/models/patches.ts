/** The patches of LeNet's two convolutions: of images as they are loaded, and of what is between. */
import type { Dataset } from "../data/dataset.js";
import { BORDER, KERNEL } from "./lenet-sizes.js";
import type { LenetSizes } from "./lenet-sizes.js";
import type { Batch } from "./model.js";

/**
 * Writes a row of 25 values, a one and zeros for every pixel of every image, row after row. Outside of an
 * image is 0, the mean.
 */
export function fillImagePatches(
  { samples, rows }: Batch,
  { mean, scale }: Pick<Dataset, "mean" | "scale">,
  { sizes, patches }: { sizes: LenetSizes; patches: Float32Array },
): void {
  const { height, width, patchColumns, patchSize } = sizes.first;
  const stride = width + 2 * BORDER;
  const bordered = new Float32Array((height + 2 * BORDER) * stride);
  let next = 0;
  for (const row of rows) {
    for (let y = 0; y < height; y++) {
      const from = (row * height + y) * width;
      const to = (y + BORDER) * stride + BORDER;
      for (let x = 0; x < width; x++) {
        bordered[to + x] = (samples.features[from + x]! - mean) * scale;
      }
    }
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let place = next;
        for (let dy = 0; dy < KERNEL; dy++) {
          const line = (y + dy) * stride + x;
          for (let dx = 0; dx < KERNEL; dx++) patches[place++] = bordered[line + dx]!;
        }
        patches[next + patchSize] = 1;
        next += patchColumns;
      }
    }
  }
  patches.fill(0, next);
}

/**
 * Where in the pooled images [samples, height, width, padded channels] each value of the second patches
 * [samples, height, width, patch columns] is.
 */
export function innerPatchPlaces(
  { first, second }: LenetSizes,
  samples: number,
): Int32Array<ArrayBuffer> {
  const pooled = { height: first.height / 2, width: first.width / 2 };
  const perSample = pooled.height * pooled.width * first.paddedChannels;
  const { patchColumns, patchSize } = second;
  const places = new Int32Array(samples * second.height * second.width * patchColumns);
  let row = 0;
  for (let sample = 0; sample < samples; sample++) {
    const image = sample * perSample;
    for (let y = 0; y < second.height; y++) {
      for (let x = 0; x < second.width; x++) {
        for (let value = 0; value < patchSize; value++) {
          const { dy, dx, channel } = patchPlace(value, first.channels);
          const pixel = (y + dy) * pooled.width + x + dx;
          places[row + value] = image + pixel * first.paddedChannels + channel;
        }
        // The channel that is 1, then the one that is 0.
        places[row + patchSize] = image + first.channels;
        places.fill(image + first.channels + 1, row + patchSize + 1, row + patchColumns);
        row += patchColumns;
      }
    }
  }
  return places;
}

/**
 * The inverse: for each of the 25 places of a window, where in the patches the gradient of a pooled value
 * [samples, height, width, channels] is. Beyond the border that is a patch's last column, whose weights are
 * 0 and whose gradient therefore is 0 too.
 */
export function inversePlaces(
  { first, second }: LenetSizes,
  samples: number,
): Int32Array<ArrayBuffer> {
  const pooled = { height: first.height / 2, width: first.width / 2 };
  const count = samples * pooled.height * pooled.width * first.channels;
  const { patchColumns, window } = second;
  const nowhere = patchColumns - 1;
  const places = new Int32Array(window * count).fill(nowhere);
  const perSample = pooled.height * pooled.width * first.channels;
  for (let sample = 0; sample < samples; sample++) {
    for (let patch = 0; patch < second.height * second.width; patch++) {
      const y = Math.floor(patch / second.width);
      const x = patch % second.width;
      const row = (sample * second.height * second.width + patch) * patchColumns;
      for (let value = 0; value < second.patchSize; value++) {
        const { dy, dx, channel } = patchPlace(value, first.channels);
        const pixel = (y + dy) * pooled.width + x + dx;
        const target = sample * perSample + pixel * first.channels + channel;
        places[(dy * KERNEL + dx) * count + target] = row + value;
      }
    }
  }
  return places;
}

/** Values of a patch are in the order line, column, channel. */
function patchPlace(value: number, channels: number): { dy: number; dx: number; channel: number } {
  const place = Math.floor(value / channels);
  return { dy: Math.floor(place / KERNEL), dx: place % KERNEL, channel: value % channels };
}
