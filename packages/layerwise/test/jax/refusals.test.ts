/** What layerwise/jax refuses: the error names the option or layer, what was expected and what came. */
import { numpy as np } from "@jax-js/jax";
import { beforeAll, describe, it } from "vitest";
import {
  addDecayedWeights,
  applyUpdates,
  chain,
  clipByPercentile,
  lars,
  lars8bit,
  scaleByLearningRate,
  scaleByTrustRatio,
  tabulated,
  trace,
} from "../../src/jax.js";
import type { GradientTransformation } from "../../src/jax.js";
import { expectRefusal } from "../helpers/refusal.js";
import type { ErrorType } from "../helpers/refusal.js";
import { arrayOf, initWasm } from "./helpers.js";
import type { Arrays } from "./helpers.js";

beforeAll(initWasm);

const options = { lr: 0.1, momentum: 0.9 } as const;

/** What is refused, who refuses it, and what the error must say. */
type Refusal = [string, () => unknown, ErrorType, readonly string[]];

/** Options that a caller without types may pass. */
function untyped(values: unknown): never {
  return values as never;
}

const constructions: Refusal[] = [
  [
    "lars without options",
    () => lars(untyped(undefined)),
    TypeError,
    ["options", "undefined", "expected"],
  ],
  [
    "lars without lr",
    () => lars(untyped({ momentum: 0.9 })),
    TypeError,
    ["lr: expected", "expected"],
  ],
  ["a negative lr", () => lars({ lr: -1 }), RangeError, ["lr: expected", "got -1"]],
  ["lr NaN", () => lars({ lr: NaN }), RangeError, ["lr: expected", "got NaN"]],
  ["lr as text", () => lars({ lr: untyped("0.1") }), TypeError, ["lr", '"0.1"', "expected"]],
  ["momentum 1", () => lars({ lr: 1, momentum: 1 }), RangeError, ["momentum: expected", "got 1"]],
  ["an unknown option", () => lars(untyped({ lr: 1, rate: 2 })), TypeError, ["rate", "expected"]],
  [
    "both rule and maxUnorm",
    () => lars({ lr: 1, maxUnorm: 1, trustRatio: "none" }),
    TypeError,
    ["maxUnorm", "trustRatio"],
  ],
  [
    "an unknown rule",
    () => lars({ lr: 1, trustRatio: untyped("lamb") }),
    RangeError,
    ["lamb", "expected"],
  ],
  [
    "nonFinite throw",
    () => lars({ lr: 1, nonFinite: untyped("throw") }),
    RangeError,
    ['nonFinite: expected "skip"', 'got "throw"'],
  ],
  [
    "32 bits under lars8bit",
    () => lars8bit({ lr: 1, optimBits: 32 }),
    RangeError,
    ["optimBits: expected 8", "got 32"],
  ],
  [
    "32 bits in args",
    () => lars8bit({ lr: 1, args: { optimBits: 32 } }),
    RangeError,
    ["optimBits: expected 8", "got 32"],
  ],
  [
    "percentile 100",
    () => clipByPercentile(100),
    RangeError,
    ["clipByPercentile: percentile", "100", "expected"],
  ],
  [
    "percentile 0.5",
    () => clipByPercentile(0.5),
    RangeError,
    ["clipByPercentile: percentile", "0.5", "expected"],
  ],
  [
    "a negative decay",
    () => addDecayedWeights(-0.1),
    RangeError,
    ["weightDecay: expected", "got -0.1"],
  ],
  ["trace without momentum", () => trace(untyped({})), TypeError, ["momentum"]],
  [
    "both names of trace's momentum",
    () => trace(untyped({ momentum: 0.9, decay: 1 })),
    TypeError,
    ["trace", "momentum", "0.9", "decay", "1"],
  ],
  [
    "a decay of trace that is too large",
    () => trace({ decay: 1.5 }),
    RangeError,
    ["trace: decay", "1.5"],
  ],
  [
    "an unknown option of trace",
    () => trace(untyped({ momentum: 0.9, rate: 1 })),
    TypeError,
    ["trace", "rate"],
  ],
  [
    "nesterov with dampening",
    () => trace({ momentum: 0.9, nesterov: true, dampening: 0.1 }),
    RangeError,
    ["nesterov"],
  ],
  [
    "an unknown option of scaleByTrustRatio",
    () => scaleByTrustRatio(untyped({ eps: 1 })),
    TypeError,
    ["eps", "expected"],
  ],
  [
    "decay after the momentum",
    () => scaleByTrustRatio({ weightDecay: 0.1 }),
    RangeError,
    ["weightDecay: expected 0", "got 0.1", "clip-update", "addDecayedWeights(0.1)"],
  ],
  [
    "clip without a rate",
    () => scaleByTrustRatio({ trustRatio: { rule: "scale-gradient", clip: true } }),
    TypeError,
    ["lr: expected", "expected"],
  ],
  ["a negative rate", () => scaleByLearningRate(-2), RangeError, ["lr: expected", "got -2"]],
  [
    "a table of no steps",
    () => tabulated(() => 1, 0),
    RangeError,
    ["tabulated: steps", "0", "expected"],
  ],
  [
    "a table of wrong rates",
    () => tabulated((step) => (step === 2 ? NaN : 1), 4),
    RangeError,
    ["rate of step 2", "NaN", "expected"],
  ],
];

function update(
  transformation: GradientTransformation,
  {
    params = { w: arrayOf([1, 2]) },
    updates = { w: arrayOf([1, 1]) },
    withParams = true,
  }: {
    params?: Arrays;
    updates?: Arrays;
    withParams?: boolean;
  } = {},
): unknown {
  const state = transformation.init({ w: arrayOf([1, 2]) });
  return transformation.update(updates, state, withParams ? params : undefined);
}

const steps: Refusal[] = [
  [
    "a tree without arrays",
    () => lars(options).init([]),
    TypeError,
    ["lars: params", "a tree without arrays", "expected"],
  ],
  [
    "a number for an array",
    () => lars(options).init(untyped({ a: { b: 3 } })),
    TypeError,
    ['lars: params "a/b"', "got 3", "expected"],
  ],
  [
    "update without params",
    () => update(lars(options), { withParams: false }),
    TypeError,
    ["lars: expected update(updates, state, params), got no params"],
  ],
  [
    "decay without params",
    () => update(addDecayedWeights(0.1), { withParams: false }),
    TypeError,
    ["addDecayedWeights: expected update(updates, state, params), got no params"],
  ],
  [
    "a ratio without params",
    () => update(scaleByTrustRatio(), { withParams: false }),
    TypeError,
    ["scaleByTrustRatio: expected update(updates, state, params), got no params"],
  ],
  [
    "updates of integers",
    () => update(lars(options), { updates: { w: np.array([1, 2], { dtype: np.int32 }) } }),
    TypeError,
    ['lars: updates "w"', "int32", "float32"],
  ],
  [
    "params of another structure",
    () => update(lars(options), { params: { v: arrayOf([1, 2]) } }),
    TypeError,
    ["lars: params", "expected the structure", "[w]"],
  ],
  [
    "params of another shape",
    () => update(lars(options), { params: { w: arrayOf([1, 2, 3]) } }),
    RangeError,
    ['layer "w"', "[3]", "[2]"],
  ],
  [
    "updates of another structure than the state",
    () => update(lars(options), { updates: [arrayOf([1, 2])], params: [arrayOf([1, 2])] }),
    TypeError,
    ["lars: state", "[0]"],
  ],
  [
    "a mask of another structure",
    () => update(lars({ ...options, trustRatioMask: { v: true } })),
    TypeError,
    ["trustRatioMask", "expected the structure"],
  ],
  [
    "a mask of numbers",
    () => update(lars({ ...options, weightDecayMask: untyped({ w: 1 }) })),
    TypeError,
    ['weightDecayMask "w"', "got 1", "expected true or false"],
  ],
  [
    "a schedule of numbers",
    () => update(lars({ ...options, lr: untyped(() => 0.1) })),
    TypeError,
    ["lr: expected", "got 0.1", "expected", "tabulated"],
  ],
  [
    "a schedule of vectors",
    () => update(lars({ ...options, lr: (count) => (count.dispose(), arrayOf([1, 2])) })),
    TypeError,
    ["lr: expected the schedule to return a scalar array", "tabulated"],
  ],
  [
    "states of another chain",
    () => chain(trace({ momentum: 0.9 })).update([arrayOf([1])], untyped([]), [arrayOf([1])]),
    TypeError,
    ["chain: state", "1", "an array of 0"],
  ],
  [
    "updates of another structure",
    () => applyUpdates({ w: arrayOf([1]) }, [arrayOf([1])]),
    TypeError,
    ["applyUpdates: updates", "expected"],
  ],
];

describe("refusals at construction", () => {
  it.each(constructions)("%s", (_, run, type, parts) => {
    expectRefusal(run, type, parts);
  });
});

describe("refusals of trees, masks and states", () => {
  it.each(steps)("%s", (_, run, type, parts) => {
    expectRefusal(run, type, parts);
  });
});
