/**
 * LeNet: two convolutions of 5 × 5 with pooling, then three dense layers. Convolutions are matrix
 * products: jax-js' own convolution takes 9 s for the gradients of 256 samples.
 *
 * The wasm device vectorises along the last axis where its length is a multiple of 4. Samples are that
 * axis, [channels, height, width, samples], so every operation runs at full width, whatever the image.
 *
 * - The first convolution multiplies patches, written as they are loaded: 25 places, a one, whose weight
 *   is the bias, and zeros up to a multiple of 4 (with 25 or 26 rows the gradient takes twice the time).
 * - The second multiplies patches read through a table of lines. The gradients of the patches are
 *   moved back and added up, 25 at a time: differentiated by jax-js 0.1.25 this would be a scatter, which
 *   its jit refuses, and read through an inverse table it takes 4 times as long.
 * - Its products are differentiated by hand, in the order of operands that is fast: those that
 *   automatic differentiation writes take 5 times as long.
 *
 * Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition";
 * with ReLU and maximum pooling.
 */
import { grad, jit, nn, numpy as np, tree, vjp } from "@jax-js/jax";
import { oneHot, scoreLogits } from "./batch-arrays.js";
import { KERNEL, lenetSizes, nextMultipleOf4 } from "./lenet-sizes.js";
import type { ConvolutionSizes, LenetSizes } from "./lenet-sizes.js";
import type { Batch, Evaluation, Network, NetworkOptions } from "./model.js";
import { parametersOf } from "./parameters.js";
import { fillImagePatches, innerPatchLines } from "./patches.js";

/** Halves height and width of [channels, height, width, samples]. */
function maxPool(images: np.Array): np.Array {
  const [channels, height, width, samples] = images.shape as [number, number, number, number];
  return np.max(images.reshape([channels, height / 2, 2, width / 2, 2, samples]), [2, 4]);
}

/** Summed cross entropy of what follows the second convolution, and the logits [classes, samples]. */
function lossOfUpperLayers(sizes: LenetSizes) {
  const logitsOf = upperLayers(sizes);
  return (convolved: np.Array, dense: np.Array[], targets: np.Array): [np.Array, np.Array] => {
    const logits = logitsOf(convolved, dense);
    return [nn.logSoftmax(logits.ref, 0).mul(targets).sum().neg(), logits];
  };
}

/** From the second convolution [channels, height · width · samples] to logits [classes, samples]. */
function upperLayers({ second, flat }: LenetSizes) {
  const { channels, height, width } = second;
  return (convolved: np.Array, dense: np.Array[]): np.Array => {
    const images = maxPool(convolved.reshape([channels, height, width, -1]));
    // The dense layers see channels last.
    let hidden = nn.relu(images).transpose([1, 2, 0, 3]).reshape([flat, -1]);
    for (let index = 0; index < dense.length; index += 2) {
      if (index > 0) hidden = nn.relu(hidden);
      hidden = np.dot(dense[index]!.transpose(), hidden).add(dense[index + 1]!);
    }
    return hidden;
  };
}

/** Creates the network; needs the wasm device to be initialised. */
export function createLenet({ config, batchRows, normalisation }: NetworkOptions): Network {
  const sizes = lenetSizes(config);
  const { first, second } = sizes;
  const { classes } = config;
  const samples = nextMultipleOf4(batchRows);
  const pooled = { height: first.height / 2, width: first.width / 2 };
  const lanes = first.height * first.width * samples;

  const table = np.array(innerPatchLines(sizes));
  const lossOf = lossOfUpperLayers(sizes);
  const logitsOf = upperLayers(sizes);

  const convolveFirst = (patches: np.Array, kernel: np.Array): np.Array =>
    np.dot(kernel, patches).reshape([first.channels, first.height, first.width, samples]);
  const poolFirst = (images: np.Array): np.Array => nn.relu(maxPool(images));
  const secondPatches = (images: np.Array, lines: np.Array): np.Array =>
    np
      .take(images.reshape([first.channels * pooled.height * pooled.width, samples]), lines, 0)
      .reshape([second.patchColumns, second.height * second.width * samples]);

  /** The transpose of secondPatches: every place of the window moved to where it was read, added up. */
  const backToPooled = (dPatches: np.Array): np.Array => {
    const places = dPatches
      .slice([0, second.patchSize], [])
      .reshape([second.window, first.channels, second.height, second.width, samples]);
    const moved = Array.from({ length: second.window }, (_, place) => {
      const dx = place % KERNEL;
      const dy = (place - dx) / KERNEL;
      return np.pad(places.ref.slice(place, [], [], [], []), [
        [0, 0],
        [dy, KERNEL - 1 - dy],
        [dx, KERNEL - 1 - dx],
        [0, 0],
      ]);
    });
    places.dispose();
    return moved.reduce((sum, place) => sum.add(place));
  };

  // Three programs, not one: in one, the sum of backToPooled would be computed inside of the reduction
  // that differentiates the pooling, value by value: 40 ms instead of 10.
  const lower = jit((kernel: np.Array, x: np.Array) => convolveFirst(x, kernel));
  const upper = jit((parameters: np.Array[], images: np.Array, tables: np.Array[]) => {
    const [kernel, bias, ...dense] = parameters;
    const [lines, targets] = tables;
    const patches = secondPatches(poolFirst(images), lines!);
    const convolved = np.dot(kernel!.ref, patches.ref).add(bias!);
    const [[dConvolved, dDense], logits] = grad(lossOf, { argnums: [0, 1], hasAux: true })(
      convolved,
      dense,
      targets!,
    );
    const dKernel = np.dot(dConvolved.ref, patches.transpose());
    const dBias = dConvolved.ref.sum(1);
    const dPatches = np.dot(kernel!.transpose(), dConvolved);
    return [backToPooled(dPatches), logits.transpose(), dKernel, dBias, ...dDense];
  });
  const backToKernel = jit((images: np.Array, dPooled: np.Array, x: np.Array) => {
    const [pooledImages, backThroughPool] = vjp(poolFirst, [images]);
    pooledImages.dispose();
    const [dImages] = backThroughPool(dPooled);
    return np.dot(dImages.reshape([first.channels, lanes]), x.transpose());
  });
  const forward = jit((parameters: np.Array[], x: np.Array, lines: np.Array) => {
    const [kernel1, kernel2, bias2, ...dense] = parameters;
    const patches = secondPatches(poolFirst(convolveFirst(x, kernel1!)), lines);
    return logitsOf(np.dot(kernel2!, patches).add(bias2!), dense).transpose();
  });

  const patches = new Float32Array(first.patchColumns * lanes);
  const shapes = parametersOf(config).map(({ shape }) => [...shape]);
  let weights: np.Array[] = [];

  function load(batch: Batch): np.Array {
    fillImagePatches(batch, normalisation, { sizes, patches, samples });
    return np.array(patches).reshape([first.patchColumns, lanes]);
  }

  return {
    setWeights([kernel1, bias1, kernel2, ...rest]) {
      tree.dispose(weights);
      weights = [
        toKernel(withBias(padded(kernel1!, first), bias1!, first), first),
        toKernel(padded(kernel2!, second), second),
        ...rest.map((values, index) => toColumns(values, shapes[index + 3]!)),
      ];
    },

    gradients(batch, [kernel1, bias1, kernel2, ...rest]): Evaluation {
      const targets = np.array(oneHot(batch, { rows: samples, classes }));
      const [firstKernel, ...others] = tree.ref(weights);
      const x = load(batch);
      const images = lower(firstKernel!, x.ref);
      const [dPooled, ...results] = upper(others, images.ref, [
        table.ref,
        targets.reshape([samples, classes]).transpose(),
      ]);
      const dFirst = backToKernel(images, dPooled!, x).dataSync() as Float32Array;
      const [logits, dSecond, ...found] = results.map((array) => array.dataSync() as Float32Array);
      takeKernel(dFirst, first, kernel1!);
      takeBias(dFirst, first, bias1!);
      takeKernel(dSecond!, second, kernel2!);
      found.forEach((gradient, index) => {
        rest[index]!.set(gradient);
      });
      return scoreLogits(logits!, batch, classes);
    },

    evaluate(batch): Evaluation {
      const logits = forward(tree.ref(weights), load(batch), table.ref);
      return scoreLogits(logits.dataSync() as Float32Array, batch, classes);
    },
  };
}

/** Kernels [inputs, outputs] as they are, biases as columns: samples lie along the last axis. */
function toColumns(values: Float32Array, shape: number[]): np.Array {
  return np.array(Float32Array.from(values)).reshape(shape.length === 1 ? [...shape, 1] : shape);
}

function toKernel(
  values: Float32Array<ArrayBuffer>,
  { channels, patchColumns }: ConvolutionSizes,
): np.Array {
  return np.array(values).reshape([channels, patchColumns]);
}

/** A row for each channel: its kernel, then zeros. */
function padded(
  kernel: Float32Array,
  { channels, patchSize, patchColumns }: ConvolutionSizes,
): Float32Array<ArrayBuffer> {
  const rows = new Float32Array(channels * patchColumns);
  for (let channel = 0; channel < channels; channel++) {
    const values = kernel.subarray(channel * patchSize, (channel + 1) * patchSize);
    rows.set(values, channel * patchColumns);
  }
  return rows;
}

/** Writes each channel's bias behind its kernel. */
function withBias(
  rows: Float32Array<ArrayBuffer>,
  bias: Float32Array,
  { patchSize, patchColumns }: ConvolutionSizes,
): Float32Array<ArrayBuffer> {
  bias.forEach((value, channel) => {
    rows[channel * patchColumns + patchSize] = value;
  });
  return rows;
}

function takeKernel(
  rows: Float32Array,
  { channels, patchSize, patchColumns }: ConvolutionSizes,
  kernel: Float32Array,
): void {
  for (let channel = 0; channel < channels; channel++) {
    const row = channel * patchColumns;
    kernel.set(rows.subarray(row, row + patchSize), channel * patchSize);
  }
}

function takeBias(
  rows: Float32Array,
  { channels, patchSize, patchColumns }: ConvolutionSizes,
  bias: Float32Array,
): void {
  for (let channel = 0; channel < channels; channel++) {
    bias[channel] = rows[channel * patchColumns + patchSize]!;
  }
}
