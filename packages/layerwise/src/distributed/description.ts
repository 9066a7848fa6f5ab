/** An optimizer as its processes must have it: as facts that errors can name, and as a number for each step. */
import { shown, shownShape } from "../check.js";
import { nextStepOf } from "../optimizer/lars.js";
import type { LARS, NextStep } from "../optimizer/lars.js";
import type { Schedule } from "../options/schedules.js";
import type { Fact } from "./agreement.js";
import type { Fingerprint } from "./checksum.js";

/** Steps at which processes compare the rates of their schedules. */
const COMPARED_STEPS = [0, 1, 10, 100, 1000, 10_000, 100_000];

/**
 * Class, kernel, layers in their order, and the options of each group. A schedule is compared by its rates at this and
 * some other steps.
 *
 * @throws as the optimizer's next step would, for wrong live options
 */
export function describeOptimizer(optimizer: LARS): Fact[] {
  const { step, groups } = nextStepOf(optimizer);
  const facts: Fact[] = [];
  const add = (of: string, what: string, value: string): void => {
    facts.push({ of, what, value });
  };
  add("optimizer", "class", optimizer.constructor.name);
  add("optimizer", "kernel", shown(optimizer.kernel));
  add("optimizer", "step", String(step));
  add("optimizer", "number of groups", String(groups.length));
  groups.forEach(({ layers }, index) => {
    add(`group ${index}`, "number of layers", String(layers.length));
    layers.forEach(({ parameter, label, stepCount }, position) => {
      const place = `layer ${position} of group ${index}`;
      add(place, "name", shown(parameter.name));
      const layer = parameter.name === undefined ? place : `layer ${shown(label)}`;
      add(layer, "shape", shownShape(parameter.shape));
      add(layer, "step", String(stepCount));
    });
  });
  groups.forEach(({ values }, index) => {
    addOptions(`group ${index}`, values);
    const { lr } = values;
    if (typeof lr !== "function") return;
    for (const compared of [step, ...COMPARED_STEPS]) {
      add(`group ${index}, step ${compared}`, "lr", rateOf(lr, compared));
    }
  });
  return facts;

  function addOptions(place: string, options: object, prefix = ""): void {
    for (const [name, value] of Object.entries(options) as [string, unknown][]) {
      const isRule = typeof value === "object" && value !== null;
      if (isRule) addOptions(place, value, `${name}.`);
      else add(place, prefix + name, shown(value));
    }
  }
}

/** Steps that a schedule was not made for may make it throw: that is no reason to refuse those it was made for. */
function rateOf(schedule: Schedule, step: number): string {
  try {
    return shown(schedule(step));
  } catch {
    return "an error";
  }
}

/** Adds to a fingerprint all that may have changed since processes last compared their optimizers. */
export function addStep(fingerprint: Fingerprint, { step, groups }: NextStep): void {
  fingerprint.add(step);
  for (const { layers, values, learningRate } of groups) {
    fingerprint.add(layers.length);
    for (const { stepCount } of layers) fingerprint.add(stepCount);
    fingerprint.add(learningRate);
    mixOptions(fingerprint, values);
  }
}

/** Without copies or lists: with a group for each layer this is hundreds of options a step. */
function mixOptions(fingerprint: Fingerprint, options: object): void {
  for (const name in options) {
    const value = (options as Record<string, unknown>)[name];
    if (typeof value === "number" || typeof value === "boolean" || typeof value === "string") {
      fingerprint.add(value);
    } else if (typeof value === "object" && value !== null) {
      mixOptions(fingerprint, value);
    }
  }
}
