/**
 * LeNet: two convolutions of 5 × 5 with pooling, then three dense layers.
 *
 * jax-js' own convolution takes 9 s for the gradients of 256 samples, so convolutions are matrix products,
 * one a line (convolution-lines.ts). The wasm device vectorises along the last axis where its length is a
 * multiple of 4: samples are that axis, so every operation runs at full width, whatever the image.
 *
 * Each step is a program of its own. In one program, jax-js would compute an elementwise result anew for
 * each row of a product that reads it. Between the programs, lines are laid side by side in plain
 * TypeScript.
 *
 * Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition";
 * with ReLU and maximum pooling.
 */
import { grad, jit, nn, numpy as np, tree } from "@jax-js/jax";
import { oneHot, scoreLogits } from "./batch-arrays.js";
import {
  convolveLines,
  gradientsOfLines,
  inputGradients,
  kernelGradient,
  poolLines,
  reversedKernel,
  shareGradients,
} from "./convolution-lines.js";
import { lenetSizes, nextMultipleOf4 } from "./lenet-sizes.js";
import type { ConvolutionSizes } from "./lenet-sizes.js";
import type { Batch, Evaluation, Network, NetworkOptions } from "./model.js";
import { parametersOf } from "./parameters.js";
import { BorderedImages, Patches, patchRows } from "./patches.js";

/** Inputs and results of a convolution, kept for the backward pass. */
interface Convolved {
  patches: np.Array;
  lines: np.Array[];
  pooled: np.Array[];
}

/** The programs of one convolution. */
function convolutionPrograms(sizes: ConvolutionSizes, samples: number) {
  const forward = jit((kernel: np.Array, bias: np.Array, patches: np.Array) => {
    const lines = convolveLines(kernel, patches, sizes);
    return { pooled: poolLines(tree.ref(lines), bias, samples), lines };
  });
  const share = jit(shareGradients);
  const ofLines = jit(gradientsOfLines);
  const ofKernel = jit((gradients: np.Array[], patches: np.Array) =>
    kernelGradient(gradients, patches, sizes),
  );
  const ofBias = jit((dBiased: np.Array[]) => {
    const [first, ...others] = dBiased.map((line) => line.sum([1, 2]));
    return others.reduce((sum, line) => sum.add(line), first!);
  });
  return {
    forward,
    /** Gradients of kernel, bias and lines. */
    back({ patches, lines, pooled }: Convolved, bias: np.Array, dPooled: np.Array[]) {
      const given = { lines, bias, pooled };
      const { dBiased, shares } = share(tree.ref(given), dPooled);
      const dLines = ofLines(given, shares);
      return {
        dKernel: ofKernel(tree.ref(dLines), patches),
        dBias: ofBias(dBiased),
        dLines,
      };
    },
  };
}

/** The dense layers: from images [values, samples] to logits [classes, samples]. */
function denseLayers(images: np.Array, parameters: np.Array[]): np.Array {
  let hidden = images;
  for (let index = 0; index < parameters.length; index += 2) {
    if (index > 0) hidden = nn.relu(hidden);
    hidden = np.dot(parameters[index]!.transpose(), hidden).add(parameters[index + 1]!);
  }
  return hidden;
}

/** Summed cross entropy, and the logits. */
function lossOfDenseLayers(
  images: np.Array,
  parameters: np.Array[],
  targets: np.Array,
): [np.Array, np.Array] {
  const logits = denseLayers(images, parameters);
  return [nn.logSoftmax(logits.ref, 0).mul(targets).sum().neg(), logits];
}

/** Creates the network; needs the wasm device to be initialised. */
export function createLenet({ config, batchRows, normalisation }: NetworkOptions): Network {
  const { first, second, flat } = lenetSizes(config);
  const { classes } = config;
  const samples = nextMultipleOf4(batchRows);

  const firstPrograms = convolutionPrograms(first, samples);
  const secondPrograms = convolutionPrograms(second, samples);
  const dense = jit((images: np.Array, parameters: np.Array[]) =>
    denseLayers(images, parameters).transpose(),
  );
  const denseBack = jit((images: np.Array, parameters: np.Array[], targets: np.Array) => {
    const [[dImages, dParameters], logits] = grad(lossOfDenseLayers, {
      argnums: [0, 1],
      hasAux: true,
    })(images, parameters, targets);
    return [logits.transpose(), dImages, ...dParameters];
  });
  const toLines = jit((images: np.Array) => {
    const lines = images.reshape([second.height / 2, second.channels, second.width / 2, samples]);
    const split = Array.from({ length: second.height / 2 }, (_, y) => lines.ref.slice(y));
    lines.dispose();
    return split;
  });
  const backToInput = jit((kernel: np.Array, gradients: np.Array) =>
    inputGradients(kernel, gradients, second),
  );

  const images = new BorderedImages(first, samples);
  const firstPatches = new Patches(first, samples);
  const secondPatches = new Patches(second, samples);
  const flatImages = new Float32Array(flat * samples);
  const secondGradients = new Float32Array(
    second.height * second.channels * second.width * samples,
  );
  const shapes = parametersOf(config).map(({ shape }) => [...shape]);
  let weights: { convolutions: np.Array[]; reversed: np.Array; dense: np.Array[] } | null = null;

  const toArray = ({ values }: Patches, sizes: ConvolutionSizes): np.Array =>
    np.array(values).reshape([patchRows(sizes), sizes.width * samples]);

  /** Both convolutions, and what the dense layers see. */
  function convolve(batch: Batch) {
    const [kernel1, bias1, kernel2, bias2] = tree.ref(weights!.convolutions);
    images.load(batch, normalisation);
    for (let y = 0; y < first.inputHeight; y++) firstPatches.setLine(y, images.line(y));
    const patches1 = toArray(firstPatches, first);
    const result1 = firstPrograms.forward(kernel1!, bias1!, patches1.ref);
    result1.pooled.forEach((line, y) => {
      secondPatches.setLine(y, line.ref.dataSync() as Float32Array);
    });
    const patches2 = toArray(secondPatches, second);
    const result2 = secondPrograms.forward(kernel2!, bias2!, patches2.ref);
    joinLines(tree.ref(result2.pooled), flatImages);
    return {
      first: { ...result1, patches: patches1 },
      second: { ...result2, patches: patches2 },
      flatImages: np.array(flatImages).reshape([flat, samples]),
    };
  }

  return {
    setWeights([kernel1, bias1, kernel2, bias2, dense1, ...rest]) {
      if (weights !== null) tree.dispose(weights);
      const toKernel = (values: Float32Array, { channels, patchSize }: ConvolutionSizes) =>
        np.array(Float32Array.from(values)).reshape([channels, patchSize]);
      const toBias = (values: Float32Array) =>
        np.array(Float32Array.from(values)).reshape([-1, 1, 1]);
      weights = {
        convolutions: [
          toKernel(kernel1!, first),
          toBias(bias1!),
          toKernel(kernel2!, second),
          toBias(bias2!),
        ],
        reversed: np.array(reversedKernel(kernel2!, second)).reshape([second.lineSize, -1]),
        dense: [channelsBeforeColumns(dense1!, second), ...rest].map((values, index) =>
          toColumns(values, shapes[index + 4]!),
        ),
      };
    },

    gradients(batch, [kernel1, bias1, kernel2, bias2, dense1, ...rest]): Evaluation {
      const convolved = convolve(batch);
      const targets = np.array(oneHot(batch, { rows: samples, classes }));
      const { convolutions, reversed, dense: denseWeights } = tree.ref(weights!);
      const [logits, dImages, ...dDense] = denseBack(
        convolved.flatImages,
        denseWeights,
        targets.reshape([samples, classes]).transpose(),
      );
      const [firstKernel, firstBias, secondKernel, secondBias] = convolutions;
      tree.dispose([firstKernel!, secondKernel!]);
      const back2 = secondPrograms.back(convolved.second, secondBias!, toLines(dImages!));
      joinLines(back2.dLines, secondGradients);
      const dLines2 = np.array(secondGradients).reshape([second.height * second.channels, -1]);
      const dPooled1 = backToInput(reversed, dLines2);
      const back1 = firstPrograms.back(convolved.first, firstBias!, dPooled1);
      tree.dispose(back1.dLines);

      takeKernel(back1.dKernel, first, kernel1!);
      bias1!.set(back1.dBias.dataSync() as Float32Array);
      takeKernel(back2.dKernel, second, kernel2!);
      bias2!.set(back2.dBias.dataSync() as Float32Array);
      const [dDense1, ...others] = dDense.map((array) => array.dataSync() as Float32Array);
      dense1!.set(columnsBeforeChannels(dDense1!, second));
      others.forEach((gradient, index) => {
        rest[index]!.set(gradient);
      });
      return scoreLogits(logits!.dataSync() as Float32Array, batch, classes);
    },

    evaluate(batch): Evaluation {
      const { first: one, second: two, flatImages: flattened } = convolve(batch);
      tree.dispose([one, two]);
      const logits = dense(flattened, tree.ref(weights!.dense));
      return scoreLogits(logits.dataSync() as Float32Array, batch, classes);
    },
  };
}

/** Lays arrays one behind the other. */
function joinLines(lines: np.Array[], joined: Float32Array): void {
  let to = 0;
  for (const line of lines) {
    const values = line.dataSync() as Float32Array;
    joined.set(values, to);
    to += values.length;
  }
}

/** Kernels [inputs, outputs] as they are, biases as columns: samples lie along the last axis. */
function toColumns(values: Float32Array, shape: number[]): np.Array {
  return np.array(Float32Array.from(values)).reshape(shape.length === 1 ? [...shape, 1] : shape);
}

function takeKernel(
  gradient: np.Array,
  { channels, patchSize }: ConvolutionSizes,
  kernel: Float32Array,
): void {
  const rows = gradient.dataSync() as Float32Array;
  const columns = rows.length / channels;
  for (let channel = 0; channel < channels; channel++) {
    const row = channel * columns;
    kernel.set(rows.subarray(row, row + patchSize), channel * patchSize);
  }
}

/**
 * Rows of the first dense kernel in the order of pooled lines, [line, channel, column]. The parameter has
 * [line, column, channel].
 */
function channelsBeforeColumns(
  kernel: Float32Array,
  { height, width, channels }: ConvolutionSizes,
): Float32Array {
  return swapped(kernel, [height / 2, width / 2, channels]);
}

function columnsBeforeChannels(
  kernel: Float32Array,
  { height, width, channels }: ConvolutionSizes,
): Float32Array {
  return swapped(kernel, [height / 2, channels, width / 2]);
}

/** Rows [a, b, c] as [a, c, b]. */
function swapped(rows: Float32Array, [a, b, c]: [number, number, number]): Float32Array {
  const size = rows.length / (a * b * c);
  const result = new Float32Array(rows.length);
  let from = 0;
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) {
      for (let k = 0; k < c; k++) {
        result.set(rows.subarray(from, from + size), ((i * c + k) * b + j) * size);
        from += size;
      }
    }
  }
  return result;
}
