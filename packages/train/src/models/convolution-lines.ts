/**
 * A convolution of 5 × 5 with ReLU and maximum pooling, line by line, and its gradients. A line is an array
 * [channels, width · samples].
 *
 * Each line of the output is one matrix product, of the kernel and of the 5 lines of patches (see
 * patches.ts) that it covers. Those are rows that follow one another, so they are read where they are: for
 * 256 samples, patches of every place would be 15 MB (second convolution) and 22 MB (first), those along
 * the width are 4.3 and 4.6 MB. Each product stays within the processor's cache.
 *
 * Lines remain arrays of their own, since jax-js 0.1.25 does not vectorise what joins arrays.
 */
import { numpy as np } from "@jax-js/jax";
import { KERNEL, nextMultipleOf4 } from "./lenet-sizes.js";
import type { ConvolutionSizes } from "./lenet-sizes.js";

/** Lines before bias and ReLU. */
export function convolveLines(
  kernel: np.Array,
  patches: np.Array,
  sizes: ConvolutionSizes,
): np.Array[] {
  const { height, lineSize, patchSize } = sizes;
  const lines = Array.from({ length: height }, (_, y) => {
    const begin = y * lineSize;
    const covered = patches.ref.slice([begin, begin + patchSize], []);
    return np.dot(kernel.ref, covered);
  });
  kernel.dispose();
  patches.dispose();
  return lines;
}

/**
 * Pooled lines [channels, width / 2, samples], half as many: the maximum of 2 × 2, then bias [channels, 1, 1]
 * and ReLU.
 */
export function poolLines(lines: np.Array[], bias: np.Array, samples: number): np.Array[] {
  const pooled = Array.from({ length: lines.length / 2 }, (_, y) => {
    const [first, ...others] = [lines[2 * y]!, lines[2 * y + 1]!].flatMap((line) =>
      evenAndOdd(line, samples),
    );
    const largest = others.reduce((max, places) => np.maximum(max, places), first!);
    return np.maximum(largest.add(bias.ref), 0);
  });
  bias.dispose();
  return pooled;
}

/** Pairs of places that lie side by side, [channels, width / 2, 2, samples]. */
function inPairs(line: np.Array, samples: number): np.Array {
  return line.reshape([line.shape[0]!, -1, 2, samples]);
}

function evenAndOdd(line: np.Array, samples: number): [np.Array, np.Array] {
  const pairs = inPairs(line, samples);
  const even = pairs.ref.slice([], [], 0, []);
  return [even, pairs.slice([], [], 1, [])];
}

/** What {@link poolLines} was given and what it returned. */
interface PooledLines {
  lines: np.Array[];
  bias: np.Array;
  pooled: np.Array[];
}

/**
 * First half of the way back through {@link poolLines}: the gradients behind ReLU, whose sum is the bias',
 * and the share that each place with the maximum has of them. The same maximum twice shares evenly, as in
 * jax. Apart from the second half, which would compute each share 4 times.
 */
export function shareGradients({ lines, bias, pooled }: PooledLines, dPooled: np.Array[]) {
  const dBiased = pooled.map((line, y) => np.where(line.ref.greater(0), dPooled[y]!, 0));
  const shares = pooled.map((line, y) => {
    const samples = line.shape[2]!;
    const [first, ...others] = [lines[2 * y]!, lines[2 * y + 1]!]
      .flatMap((pair) => evenAndOdd(pair, samples))
      .map((places) => np.where(places.add(bias.ref).equal(line.ref), 1, 0));
    line.dispose();
    const count = others.reduce((sum, places) => sum.add(places), first!);
    return dBiased[y]!.ref.div(count);
  });
  bias.dispose();
  return { dBiased, shares };
}

/** Second half: a place that has its maximum gets the share. */
export function gradientsOfLines(
  { lines, bias, pooled }: PooledLines,
  shares: np.Array[],
): np.Array[] {
  const ofPair = (values: np.Array): np.Array => {
    const [channels, width, samples] = values.shape as [number, number, number];
    return values.reshape([channels, width, 1, samples]);
  };
  const gradients = lines.map((line, y) => {
    const half = Math.floor(y / 2);
    const samples = pooled[half]!.shape[2]!;
    const [channels, size] = line.shape as [number, number];
    const places = inPairs(line, samples).add(bias.ref.reshape([channels, 1, 1, 1]));
    const isLargest = places.equal(ofPair(pooled[half]!.ref));
    return np.where(isLargest, ofPair(shares[half]!.ref), 0).reshape([channels, size]);
  });
  for (const array of [bias, ...pooled, ...shares]) array.dispose();
  return gradients;
}

/**
 * The kernel's gradient, [channels, patch size up to a multiple of 4]: with 152 columns the products take 4
 * ms, with 150 they take 9. Columns beyond the patch size are meaningless.
 */
export function kernelGradient(
  gradients: np.Array[],
  patches: np.Array,
  { lineSize, patchSize }: ConvolutionSizes,
): np.Array {
  const [first, ...others] = gradients.map((gradient, y) => {
    const begin = y * lineSize;
    const covered = patches.ref.slice([begin, begin + nextMultipleOf4(patchSize)], []);
    return np.dot(gradient, covered.transpose());
  });
  patches.dispose();
  return others.reduce((sum, line) => sum.add(line), first!);
}

/**
 * The kernel as {@link inputGradients} reads it, [column and input channel, line from the last to the first
 * and channel].
 */
export function reversedKernel(
  kernel: Float32Array,
  { channels, lineSize, patchSize }: ConvolutionSizes,
): Float32Array<ArrayBuffer> {
  const reversed = new Float32Array(kernel.length);
  for (let place = 0; place < lineSize; place++) {
    for (let dy = 0; dy < KERNEL; dy++) {
      const to = (place * KERNEL + KERNEL - 1 - dy) * channels;
      for (let channel = 0; channel < channels; channel++) {
        reversed[to + channel] = kernel[channel * patchSize + dy * lineSize + place]!;
      }
    }
  }
  return reversed;
}

/**
 * Gradients of the input lines.
 *
 * @param reversed of {@link reversedKernel}
 * @param gradients of all lines, [height · channels, width · samples]
 */
export function inputGradients(
  reversed: np.Array,
  gradients: np.Array,
  sizes: ConvolutionSizes,
): np.Array[] {
  const { height, width, channels, inputHeight, inputChannels } = sizes;
  const lines = Array.from({ length: inputHeight }, (_, y) => {
    // Lines of the output that input line y is part of; where the window would begin is y - 4.
    const begin = Math.max(0, y - (KERNEL - 1));
    const end = Math.min(height, y + 1);
    const skipped = begin - (y - (KERNEL - 1));
    const kernel = reversed.ref.slice([], [skipped * channels, (skipped + end - begin) * channels]);
    const covering = gradients.ref.slice([begin * channels, end * channels], []);
    return addedUp(np.dot(kernel, covering).reshape([KERNEL, inputChannels, width, -1]));
  });
  reversed.dispose();
  gradients.dispose();
  return lines;
}

/** The transpose of the 5 shifted copies: each is moved back, then they are added up. */
function addedUp(copies: np.Array): np.Array {
  const moved = Array.from({ length: KERNEL }, (_, dx) =>
    np.pad(copies.ref.slice(dx, [], [], []), [
      [0, 0],
      [dx, KERNEL - 1 - dx],
      [0, 0],
    ]),
  );
  copies.dispose();
  const [first, ...others] = moved;
  return others.reduce((sum, copy) => sum.add(copy), first!);
}
