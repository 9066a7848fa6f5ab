/** The multi-layer perceptron: dense layers with ReLU between them. */
import { grad, jit, nn, numpy as np, tree } from "@jax-js/jax";
import { fillStandardised, oneHot, scoreLogits } from "./batch-arrays.js";
import { fastRows } from "./fast-rows.js";
import type { Batch, Evaluation, Network, NetworkOptions } from "./model.js";
import { layerSizes, mlpParameters } from "./parameters.js";

/** The layers after the first; parameters are kernel, bias, kernel, bias, … */
function upperLayers(first: np.Array, parameters: np.Array[]): np.Array {
  let hidden = first;
  for (let index = 0; index < parameters.length; index += 2) {
    hidden = np.dot(nn.relu(hidden), parameters[index]!).add(parameters[index + 1]!);
  }
  return hidden;
}

/** Summed cross entropy of what the first layer gives, and the logits beside it. */
function lossOfUpperLayers(
  first: np.Array,
  parameters: np.Array[],
  targets: np.Array,
): [np.Array, np.Array] {
  const logits = upperLayers(first, parameters);
  return [nn.logSoftmax(logits.ref, -1).mul(targets).sum().neg(), logits];
}

/** Creates the network; needs the wasm device to be initialised. */
export function createMlp({ config, batchRows, normalisation }: NetworkOptions): Network {
  const sizes = layerSizes(config);
  const inputs = sizes[0]!;
  const classes = config.classes;
  const rows = fastRows(batchRows);
  // A column of ones follows the inputs: its row in the gradient of the first kernel is the gradient of
  // the first bias. The columns after it only bring the gradient to a number of rows that is fast.
  const columns = fastRows(inputs + 1, 1);
  const shapes = mlpParameters(config).map(({ shape }) => [...shape]);

  /**
   * Automatic differentiation through all layers above the first; the first, whose input is data, needs
   * only its kernel's gradient xᵀ·dz, written here in the order of operands that is fast.
   */
  const step = jit((parameters: np.Array[], x: np.Array, targets: np.Array) => {
    const [kernel, bias, ...upper] = parameters;
    const first = np.dot(x.ref.slice([], [0, inputs]), kernel!).add(bias!);
    const [[dFirst, dUpper], logits] = grad(lossOfUpperLayers, { argnums: [0, 1], hasAux: true })(
      first,
      upper,
      targets,
    );
    return [logits, np.dot(x.transpose(), dFirst), ...dUpper];
  });
  const forward = jit((parameters: np.Array[], x: np.Array) => {
    const [kernel, bias, ...upper] = parameters;
    return upperLayers(np.dot(x.slice([], [0, inputs]), kernel!).add(bias!), upper);
  });

  const features = new Float32Array(rows * columns);
  let weights: np.Array[] = [];

  function load(batch: Batch): np.Array {
    fillStandardised(batch, normalisation, { features, inputs, columns });
    return np.array(features).reshape([rows, columns]);
  }

  return {
    setWeights(values) {
      tree.dispose(weights);
      weights = values.map((value, index) =>
        np.array(Float32Array.from(value)).reshape(shapes[index]!),
      );
    },

    gradients(batch, gradients): Evaluation {
      const targets = np.array(oneHot(batch, { rows, classes })).reshape([rows, classes]);
      const [logits, ...found] = step(tree.ref(weights), load(batch), targets).map(
        (array) => array.dataSync() as Float32Array,
      );
      const first = found[0]!;
      const kernelSize = gradients[0]!.length;
      gradients[0]!.set(first.subarray(0, kernelSize));
      gradients[1]!.set(first.subarray(kernelSize, kernelSize + gradients[1]!.length));
      found.slice(1).forEach((gradient, index) => {
        gradients[index + 2]!.set(gradient);
      });
      return scoreLogits(logits!, batch, classes);
    },

    evaluate(batch): Evaluation {
      const logits = forward(tree.ref(weights), load(batch)).dataSync() as Float32Array;
      return scoreLogits(logits, batch, classes);
    },
  };
}
