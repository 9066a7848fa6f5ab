/** An optimizer as its processes must have it: as facts that errors can name, and as a number for each step. */
import { shown } from "../check.js";
import type { TrustRatio } from "../decide/trust-ratio.js";
import { nextStepOf } from "../optimizer/lars.js";
import type { LARS, NextStep } from "../optimizer/lars.js";
import { DEFAULTS } from "../options/options.js";
import type { Hyperparameters } from "../options/options.js";
import type { Schedule } from "../options/schedules.js";
import type { Fact } from "./agreement.js";
import type { Fingerprint } from "./checksum.js";

/** Steps at which processes compare the rates of their schedules. */
const COMPARED_STEPS = [0, 1, 10, 100, 1000, 10_000, 100_000];

type PlainOption = Exclude<keyof Hyperparameters, "lr" | "trustRatio">;

/** Options that are one value each. */
const PLAIN_OPTIONS = Object.keys(DEFAULTS).filter(
  (name) => name !== "trustRatio",
) as PlainOption[];

/**
 * Class, kernel, layers in their order, and the options of each group. A schedule is compared by its rates at some steps.
 *
 * @throws as the optimizer's next step would, for wrong live options
 */
export function describeOptimizer(optimizer: LARS): Fact[] {
  const { groups } = nextStepOf(optimizer);
  const facts = [
    { of: "optimizer", what: "class", value: optimizer.constructor.name },
    { of: "optimizer", what: "kernel", value: shown(optimizer.kernel) },
    { of: "optimizer", what: "number of groups", value: String(groups.length) },
  ];
  groups.forEach(({ layers }, index) => {
    const value = String(layers.length);
    facts.push({ of: `group ${index}`, what: "number of layers", value });
    layers.forEach(({ parameter: { name, shape } }, position) => {
      const place = `layer ${position} of group ${index}`;
      const of = name === undefined ? place : `layer ${shown(name)}`;
      facts.push({ of: place, what: "name", value: JSON.stringify(name ?? null) });
      facts.push({ of, what: "shape", value: `[${shape.join(", ")}]` });
    });
  });
  return [...facts, ...groups.flatMap(({ values }, index) => describeOptions(index, values))];
}

function describeOptions(group: number, values: Hyperparameters): Fact[] {
  const { lr, trustRatio } = values;
  const of = `group ${group}`;
  const fact = (what: string, value: unknown): Fact => ({ of, what, value: shown(value) });
  return [
    fact("lr", lr),
    ...PLAIN_OPTIONS.map((name) => fact(name, values[name])),
    ...Object.entries(trustRatio).map(([name, value]) => fact(`trustRatio.${name}`, value)),
    ...(typeof lr === "number" ? [] : COMPARED_STEPS.map((step) => describeRate(of, lr, step))),
  ];
}

function describeRate(group: string, schedule: Schedule, step: number): Fact {
  return { of: `${group}, step ${step}`, what: "lr", value: rateOf(schedule, step) };
}

/**
 * How far an optimizer is: its steps, those of its layers, and the rates of the next one.
 *
 * @throws as {@link describeOptimizer}
 */
export function describeProgress(optimizer: LARS): Fact[] {
  const { step, groups } = nextStepOf(optimizer);
  return [
    { of: "optimizer", what: "step", value: String(step) },
    ...groups.flatMap(({ layers, learningRate }, index) => [
      { of: `group ${index}, step ${step}`, what: "lr", value: String(learningRate) },
      ...layers.map(({ label, stepCount }) => ({
        of: `layer ${shown(label)}`,
        what: "step",
        value: String(stepCount),
      })),
    ]),
  ];
}

/** Steps that a schedule was not made for may make it throw: that is no reason to refuse those it was made for. */
function rateOf(schedule: Schedule, step: number): string {
  try {
    return shown(schedule(step));
  } catch {
    return "an error";
  }
}

/**
 * Adds to a fingerprint all that may have changed since processes last compared their optimizers. Without copies or
 * lists: with a group for each layer there are hundreds of options.
 */
export function addStep(fingerprint: Fingerprint, { step, groups }: NextStep): void {
  fingerprint.add(step);
  for (const { layers, values, learningRate } of groups) {
    fingerprint.add(layers.length);
    for (const { stepCount } of layers) fingerprint.add(stepCount);
    fingerprint.add(learningRate);
    for (const name of PLAIN_OPTIONS) addValue(fingerprint, values[name]);
    for (const name in values.trustRatio) {
      addValue(fingerprint, values.trustRatio[name as keyof TrustRatio]);
    }
  }
}

function addValue(fingerprint: Fingerprint, value: string | number | boolean | null): void {
  fingerprint.add(value ?? -1);
}
