/**
 * LeNet: two convolutions of 5 × 5 with pooling, then three dense layers. Convolutions are products of
 * patches and kernels: jax-js' own convolution takes 9 s for the gradients of 256 samples, this 0.15 s.
 *
 * Three things make the products fast on the wasm device, which vectorises along the last axis where its
 * length is a multiple of 4, and computes single numbers elsewhere:
 * - A patch has a place that is always 1, whose weight is the bias, and zeros up to a multiple of 4.
 * - The first convolution gives 8 channels for 6. The seventh is always 1 and the eighth always 0: the
 *   second convolution takes its patches' last places from there.
 * - Patches are read through a table of places, and their gradients are added up through its inverse.
 *   (Differentiated by jax-js 0.1.25 this would be a scatter, which its jit refuses.)
 *
 * Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition";
 * with ReLU and maximum pooling.
 */
import { grad, jit, nn, numpy as np, tree, vjp } from "@jax-js/jax";
import { oneHot, scoreLogits } from "./batch-arrays.js";
import { lenetSizes } from "./lenet-sizes.js";
import type { LenetSizes } from "./lenet-sizes.js";
import type { Batch, Evaluation, Network, NetworkOptions } from "./model.js";
import { parametersOf } from "./parameters.js";
import { fillImagePatches, innerPatchPlaces, inversePlaces } from "./patches.js";

/** Halves height and width of [samples, height, width, channels]. */
function maxPool(images: np.Array): np.Array {
  const [samples, height, width, channels] = images.shape as [number, number, number, number];
  return np.max(images.reshape([samples, height / 2, 2, width / 2, 2, channels]), [2, 4]);
}

/** Summed cross entropy of what follows the second patches, and the logits beside it. */
function lossOfUpperLayers(sizes: LenetSizes, samples: number) {
  return (patches: np.Array, parameters: np.Array[], targets: np.Array): [np.Array, np.Array] => {
    const logits = upperLayers(sizes, samples)(patches, parameters);
    return [nn.logSoftmax(logits.ref, -1).mul(targets).sum().neg(), logits];
  };
}

function upperLayers({ second, flat }: LenetSizes, samples: number) {
  return (patches: np.Array, [kernel, ...dense]: np.Array[]): np.Array => {
    const convolved = np.dot(patches, kernel!.transpose());
    const images = convolved.reshape([samples, second.height, second.width, second.channels]);
    let hidden = nn.relu(maxPool(images)).reshape([samples, flat]);
    for (let index = 0; index < dense.length; index += 2) {
      if (index > 0) hidden = nn.relu(hidden);
      hidden = np.dot(hidden, dense[index]!).add(dense[index + 1]!);
    }
    return hidden;
  };
}

/** Creates the network; needs the wasm device to be initialised. */
export function createLenet({ config, batchRows, normalisation }: NetworkOptions): Network {
  const sizes = lenetSizes(config);
  const { first, second } = sizes;
  const { classes } = config;
  const samples = batchRows;
  const positions = first.height * first.width;
  const pooledShape = [samples, first.height / 2, first.width / 2];
  const secondRows = samples * second.height * second.width;

  const places = np.array(innerPatchPlaces(sizes, samples));
  const inverse = np.array(inversePlaces(sizes, samples));
  const lossOf = lossOfUpperLayers(sizes, samples);
  const logitsOf = upperLayers(sizes, samples);

  const convolveFirst = (patches: np.Array, kernel: np.Array): np.Array =>
    np
      .dot(patches, kernel.transpose())
      .reshape([samples, first.height, first.width, first.paddedChannels]);
  const poolFirst = (images: np.Array): np.Array => nn.relu(maxPool(images));
  const secondPatches = (pooled: np.Array, table: np.Array): np.Array =>
    np.take(pooled.ravel(), table, 0).reshape([secondRows, second.patchColumns]);

  /** The transpose of secondPatches: every pooled value gets the gradients of the patches that it is in. */
  const backToPooled = (dPatches: np.Array, table: np.Array): np.Array => {
    const summed = np
      .take(dPatches.ravel(), table, 0)
      .reshape([second.window, -1])
      .sum(0)
      .reshape([...pooledShape, first.channels]);
    const padding = np.zeros([...pooledShape, first.paddedChannels - first.channels]);
    return np.concatenate([summed, padding], -1);
  };

  const step = jit((parameters: np.Array[], x: np.Array, tables: np.Array[], targets: np.Array) => {
    const [kernel, ...upper] = parameters;
    const [pooled, backThroughPool] = vjp(poolFirst, [convolveFirst(x.ref, kernel!)]);
    const [[dPatches, dUpper], logits] = grad(lossOf, { argnums: [0, 1], hasAux: true })(
      secondPatches(pooled, tables[0]!),
      upper,
      targets,
    );
    const [dImages] = backThroughPool(backToPooled(dPatches, tables[1]!));
    const rows = dImages.reshape([samples * positions, first.paddedChannels]);
    return [logits, np.dot(rows.transpose(), x), ...dUpper];
  });
  const forward = jit((parameters: np.Array[], x: np.Array, table: np.Array) => {
    const [kernel, ...upper] = parameters;
    return logitsOf(secondPatches(poolFirst(convolveFirst(x, kernel!)), table), upper);
  });

  const patches = new Float32Array(samples * positions * first.patchColumns);
  const shapes = parametersOf(config).map(({ shape }) => [...shape]);
  let weights: np.Array[] = [];

  function load(batch: Batch): np.Array {
    fillImagePatches(batch, normalisation, { sizes, patches });
    return np.array(patches).reshape([samples * positions, first.patchColumns]);
  }

  return {
    setWeights([kernel1, bias1, kernel2, bias2, ...dense]) {
      tree.dispose(weights);
      weights = [
        np
          .array(withBiasColumn(kernel1!, bias1!, first))
          .reshape([first.paddedChannels, first.patchColumns]),
        np
          .array(withBiasColumn(kernel2!, bias2!, second))
          .reshape([second.paddedChannels, second.patchColumns]),
        ...dense.map((values, index) =>
          np.array(Float32Array.from(values)).reshape(shapes[index + 4]!),
        ),
      ];
    },

    gradients(batch, [kernel1, bias1, kernel2, bias2, ...dense]): Evaluation {
      const targets = np.array(oneHot(batch, { rows: samples, classes }));
      const [logits, first1, second2, ...found] = step(
        tree.ref(weights),
        load(batch),
        [places.ref, inverse.ref],
        targets.reshape([samples, classes]),
      ).map((array) => array.dataSync() as Float32Array);
      takeBiasColumn(first1!, first, [kernel1!, bias1!]);
      takeBiasColumn(second2!, second, [kernel2!, bias2!]);
      found.forEach((gradient, index) => {
        dense[index]!.set(gradient);
      });
      return scoreLogits(logits!, batch, classes);
    },

    evaluate(batch): Evaluation {
      const logits = forward(tree.ref(weights), load(batch), places.ref);
      return scoreLogits(logits.dataSync() as Float32Array, batch, classes);
    },
  };
}

/** Sizes of a kernel, with and without what it is padded with. */
interface KernelSizes {
  channels: number;
  paddedChannels: number;
  patchSize: number;
  patchColumns: number;
}

/** A row for each channel: its kernel, its bias, zeros. The first channel beyond the real ones is 1. */
function withBiasColumn(
  kernel: Float32Array,
  bias: Float32Array,
  { channels, paddedChannels, patchSize, patchColumns }: KernelSizes,
): Float32Array<ArrayBuffer> {
  const padded = new Float32Array(paddedChannels * patchColumns);
  for (let channel = 0; channel < channels; channel++) {
    const row = channel * patchColumns;
    padded.set(kernel.subarray(channel * patchSize, (channel + 1) * patchSize), row);
    padded[row + patchSize] = bias[channel]!;
  }
  if (paddedChannels > channels) padded[channels * patchColumns + patchSize] = 1;
  return padded;
}

function takeBiasColumn(
  padded: Float32Array,
  { channels, patchSize, patchColumns }: KernelSizes,
  [kernel, bias]: [Float32Array, Float32Array],
): void {
  for (let channel = 0; channel < channels; channel++) {
    const row = channel * patchColumns;
    kernel.set(padded.subarray(row, row + patchSize), channel * patchSize);
    bias[channel] = padded[row + patchSize]!;
  }
}
