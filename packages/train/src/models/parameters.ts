/** The parameters of each model: names, shapes and first weights. Nothing here needs a device. */
import type { Random } from "../random.js";
import { DENSE_SIZES, KERNEL, lenetSizes } from "./lenet-sizes.js";
import type { ModelConfig, ParameterSpec } from "./model.js";

export function parametersOf(config: ModelConfig): ParameterSpec[] {
  return config.model === "mlp" ? mlpParameters(config) : lenetParameters(config);
}

/** Widths of the MLP, from the inputs to the classes. */
export function layerSizes({ featureShape, hidden, classes }: ModelConfig): number[] {
  return [featureShape.reduce((product, size) => product * size, 1), ...hidden, classes];
}

export function mlpParameters(config: ModelConfig): ParameterSpec[] {
  return denseParameters(layerSizes(config));
}

/** Kernel [inputs, outputs] and bias of each dense layer. */
function denseParameters(sizes: readonly number[]): ParameterSpec[] {
  return sizes.slice(1).flatMap((outputs, layer) => {
    const fanIn = sizes[layer]!;
    return withBias(`dense${layer + 1}`, { shape: [fanIn, outputs], fanIn, outputs });
  });
}

/** Kernels [channels, height, width, input channels] of convolutions, [inputs, outputs] of dense layers. */
export function lenetParameters(config: ModelConfig): ParameterSpec[] {
  const { first, second, flat } = lenetSizes(config);
  const convolutions = [first, second].flatMap(
    ({ channels, inputChannels, patchSize }, index): ParameterSpec[] =>
      withBias(`conv${index + 1}`, {
        shape: [channels, KERNEL, KERNEL, inputChannels],
        fanIn: patchSize,
        outputs: channels,
      }),
  );
  return [...convolutions, ...denseParameters([flat, ...DENSE_SIZES, config.classes])];
}

/** @throws UsageError when the model does not take such data */
export function checkModel(config: ModelConfig): void {
  if (config.model === "lenet") lenetSizes(config);
}

function withBias(
  name: string,
  { shape, fanIn, outputs }: { shape: readonly number[]; fanIn: number; outputs: number },
): ParameterSpec[] {
  return [
    { name: `${name}/kernel`, shape, fanIn },
    { name: `${name}/bias`, shape: [outputs], fanIn },
  ];
}

export function elementCount({ shape }: Pick<ParameterSpec, "shape">): number {
  return shape.reduce((product, size) => product * size, 1);
}

export const INITS = ["he", "torch"] as const;

/** How first weights are drawn. */
export type Init = (typeof INITS)[number];

/**
 * First weights. No transcendental function is in them, so every engine gives the same bits.
 *
 * - `he`: uniform in ±√(6/fanIn), variance 2/fanIn, which keeps the size of what ReLU passes on; biases 0. Source: He,
 *   Zhang, Ren, Sun 2015 (arXiv 1502.01852).
 * - `torch`: uniform in ±√(1/fanIn), biases too: what PyTorch's `nn.Linear` and `nn.Conv2d` start with.
 */
export function initialWeights(spec: ParameterSpec, init: Init, random: Random): Float32Array {
  const size = elementCount(spec);
  if (init === "he" && spec.shape.length === 1) return new Float32Array(size);
  const limit = Math.sqrt((init === "he" ? 6 : 1) / spec.fanIn);
  return Float32Array.from({ length: size }, () => random.uniform(limit));
}
