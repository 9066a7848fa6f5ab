/**
 * A convolution of 5 × 5 with ReLU and maximum pooling, line by line, and its gradients. Lines are arrays
 * [channels, width, samples].
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
  const { height, width, channels, lineSize, patchSize } = sizes;
  const lines = Array.from({ length: height }, (_, y) => {
    const begin = y * lineSize;
    const covered = patches.ref.slice([begin, begin + patchSize], []);
    return np.dot(kernel.ref, covered).reshape([channels, width, -1]);
  });
  kernel.dispose();
  patches.dispose();
  return lines;
}

/** Half as many lines of half the width: the maximum of 2 × 2, then bias [channels, 1, 1] and ReLU. */
export function poolLines(lines: np.Array[], bias: np.Array): np.Array[] {
  const pooled = Array.from({ length: lines.length / 2 }, (_, y) => {
    const [first, ...others] = [lines[2 * y]!, lines[2 * y + 1]!].flatMap(evenAndOdd);
    const largest = others.reduce((max, places) => np.maximum(max, places), first!);
    return np.maximum(largest.add(bias.ref), 0);
  });
  bias.dispose();
  return pooled;
}

/** The places of a line in even and in odd columns. */
function evenAndOdd(line: np.Array): [np.Array, np.Array] {
  const [channels, width, samples] = line.shape as [number, number, number];
  const pairs = line.reshape([channels, width / 2, 2, samples]);
  const even = pairs.ref.slice([], [], 0, []);
  return [even, pairs.slice([], [], 1, [])];
}

/** What {@link poolLines} was given, what it returned, and the gradients of that. */
interface PooledLines {
  lines: np.Array[];
  bias: np.Array;
  pooled: np.Array[];
  dPooled: np.Array[];
}

/** The gradients of pooled lines, behind ReLU, and the share of each place that has the maximum. */
// eslint-disable-next-line @typescript-eslint/consistent-type-definitions -- jit takes type literals only
export type SharedGradients = {
  /** One a pooled line; their sum is the bias'. */
  dBiased: np.Array[];
  shares: np.Array[];
};

/**
 * First half of the way back through {@link poolLines}: places with the same maximum share its gradient
 * evenly, as in jax. Apart from the second half, which would compute each share 4 times.
 */
export function shareGradients({ lines, bias, pooled, dPooled }: PooledLines): SharedGradients {
  const dBiased = pooled.map((line, y) => np.where(line.ref.greater(0), dPooled[y]!, 0));
  const shares = pooled.map((line, y) => {
    const [first, ...others] = [lines[2 * y]!, lines[2 * y + 1]!]
      .flatMap(evenAndOdd)
      .map((places) => np.where(places.add(bias.ref).equal(line.ref), 1.0, 0.0));
    line.dispose();
    const count = others.reduce((sum, places) => sum.add(places), first!);
    return dBiased[y]!.ref.div(count);
  });
  bias.dispose();
  return { dBiased, shares };
}

/** Second half: a place that has its maximum gets the share. */
export function gradientsOfLines(
  { lines, bias, pooled }: Omit<PooledLines, "dPooled">,
  shares: np.Array[],
): np.Array[] {
  const repeated = (line: np.Array): np.Array => {
    const [channels, width, samples] = line.shape as [number, number, number];
    return line.reshape([channels, width, 1, samples]);
  };
  const gradients = lines.map((line, y) => {
    const [channels, width, samples] = line.shape as [number, number, number];
    const places = line.add(bias.ref).reshape([channels, width / 2, 2, samples]);
    const half = Math.floor(y / 2);
    const isLargest = places.equal(repeated(pooled[half]!.ref));
    return np.where(isLargest, repeated(shares[half]!.ref), 0).reshape([channels, -1]);
  });
  for (const array of [bias, ...pooled, ...shares]) array.dispose();
  return gradients;
}

/**
 * The kernel's gradient, [channels, patch size up to a multiple of 4]: with 152 columns the products take 4
 * ms, with 150 they take 9. What the columns beyond the patch size hold is of no use.
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
