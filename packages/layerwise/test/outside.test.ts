/** Arrays from outside the kernels' memory: the same bits as inside, whatever lies where and however memory grows. */
import { describe, expect, it } from "vitest";
import { LARS, Parameter } from "../src/index.js";
import type { LARSOptions } from "../src/index.js";
import { expectSameBits } from "./helpers/numbers.js";
import { randomArray } from "./helpers/random.js";

const SIZES = [1, 300, 32_769, 200_001];
/** So large that threads help with it. */
const LARGE = [2_200_001];

/** Where a layer's arrays are. */
type Place = "inside" | "outside" | "gradient outside" | "weights outside";

function parameterAt(place: Place, size: number): Parameter {
  if (place === "outside") return new Parameter(new Float32Array(size));
  const inside = Parameter.allocate([size]);
  if (place === "gradient outside") inside.grad = null;
  if (place !== "weights outside") return inside;
  const parameter = new Parameter(new Float32Array(size));
  parameter.grad = inside.grad;
  return parameter;
}

/** The weights after each of three steps. */
function trajectory(
  places: readonly Place[],
  options: LARSOptions,
  threads: number,
  sizes: readonly number[] = SIZES,
) {
  const params = sizes.map((size, layer) => {
    const parameter = parameterAt(places[layer % places.length]!, size);
    parameter.data.set(randomArray(size, layer));
    return parameter;
  });
  const optimizer = new LARS(params, options, { threads });
  const weights: Float32Array[] = [];
  for (let step = 0; step < 3; step++) {
    params.forEach((parameter, layer) => {
      parameter.grad ??= new Float32Array(parameter.size);
      parameter.grad.set(randomArray(parameter.size, 10 * step + layer + 100));
    });
    optimizer.step();
    weights.push(...params.map(({ data }) => Float32Array.from(data)));
  }
  optimizer.dispose();
  return weights;
}

const CASES: Record<string, LARSOptions> = {
  "32 bits": { lr: 0.1, momentum: 0.9, weightDecay: 1e-4 },
  "8 bits, Nesterov, skipZeros": {
    ...{ lr: 0.1, momentum: 0.9, nesterov: true, skipZeros: true },
    ...{ optimBits: 8, min8bitSize: 1 },
  },
  "without momentum, rule none": { lr: 0.1, trustRatio: "none" },
  "scale-gradient with clipping": {
    ...{ lr: 0.1, momentum: 0.9, percentileClipping: 50, maxGradNorm: 1 },
    trustRatio: { rule: "scale-gradient" },
  },
};

describe.each(Object.entries(CASES))("%s", (_, options) => {
  const expected = trajectory(["inside"], options, 1);
  const mixtures: Place[][] = [
    ["outside"],
    ["gradient outside"],
    ["weights outside"],
    ["inside", "outside", "gradient outside", "weights outside"],
  ];
  it.each(mixtures)("%s %s %s %s: the bits of arrays inside, on 1 and 2 threads", (...places) => {
    const given = places.filter((place) => (place as Place | undefined) !== undefined);
    for (const threads of [1, 2]) {
      trajectory(given, options, threads).forEach((weights, index) => {
        expectSameBits(weights, expected[index]!);
      });
    }
  });
});

it.each(["32 bits", "8 bits, Nesterov, skipZeros", "without momentum, rule none"])(
  "%s: the bits of arrays inside, where threads help with arrays outside",
  (name) => {
    const expected = trajectory(["inside"], CASES[name]!, 1, LARGE);
    trajectory(["outside"], CASES[name]!, 2, LARGE).forEach((weights, index) => {
      expectSameBits(weights, expected[index]!);
    });
  },
);

it("keeps momentum when the memory that it lies in grows, and gives it back", () => {
  const step = (parameters: readonly Parameter[], optimizer: LARS): void => {
    for (const parameter of parameters) parameter.grad = randomArray(parameter.size, 7);
    optimizer.step();
  };
  const [first, second] = [0, 1].map(() => new Parameter(randomArray(100_000, 3))) as [
    Parameter,
    Parameter,
  ];
  const options = { lr: 0.1, momentum: 0.9 };
  const [undisturbed, optimizer] = [new LARS([first], options), new LARS([second], options)];
  for (let count = 0; count < 3; count++) step([first], undisturbed);
  step([second], optimizer);
  const large = new Parameter(new Float32Array(8_000_000));
  const other = new LARS([large], options);
  step([large], other); // 32 MB of momentum
  step([second], optimizer);
  other.dispose();
  step([second], optimizer);
  expectSameBits(second.data, first.data);
  expect(optimizer.stateDict().layers[0]!.momentum).toEqual(
    undisturbed.stateDict().layers[0]!.momentum,
  );
  undisturbed.dispose();
  optimizer.dispose();
});
