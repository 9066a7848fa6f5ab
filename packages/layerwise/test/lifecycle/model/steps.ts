/** Steps: what they should do, and what they did. */
import type { StateDict, StepReport } from "../../../src/index.js";
import type { Command } from "./command.js";
import { demandMomentum, demandNear, demandUntouchedBlocks, near } from "./compare.js";
import { expectedStep } from "./expected-step.js";
import type { ExpectedLayer } from "./expected-step.js";
import { at, drawn, indexOf, isAlive, optimizerAt, isDead } from "./lookup.js";
import { fillGradient } from "./parameters.js";
import { realOf } from "./real.js";
import type { Real } from "./real.js";
import { demandRefusal } from "./refusal.js";
import { demand } from "./verify.js";
import { copyOfMomentum, labelOf, rateOf, wantedKind } from "./world.js";
import type { World, WorldLayer, WorldOptimizer } from "./world.js";

export function runStep(
  { optimizer: pick, values, gradScale }: Command & { kind: "step" },
  world: World,
  real: Real,
): void {
  const optimizer = optimizerAt(world, pick)!;
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  if (optimizer.isDisposed) {
    demandRefusal(() => actual.step(), ["disposed"], "step after dispose()");
    return;
  }
  if (values !== null) {
    optimizer.layers.forEach(({ parameter }, index) => {
      // Every seventh layer is left as it is: without gradient, or with the last one.
      if (!isAlive(parameter) || (values.seed + index) % 7 === 0) return;
      const own = { ...values, seed: values.seed + 7919 * index };
      fillGradient(real, parameter, drawn(own, parameter.size));
    });
  }
  step(world, real, optimizer, gradScale);
}

export function step(world: World, real: Real, optimizer: WorldOptimizer, gradScale: number): void {
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  const expected = expectedStep(optimizer, gradScale);
  if (expected.some(hasRunAway)) return;
  let report: StepReport;
  try {
    report = actual.step({ gradScale });
  } catch (error) {
    // A layer whose array is gone may be refused or, without gradient, be left alone.
    const dead = optimizer.layers.filter(isDead).map((layer) => labelOf(optimizer, layer));
    const { message } = error as Error;
    demand(
      dead.some((label) => message.includes(JSON.stringify(label))),
      () => `step: ${message}`,
    );
    return;
  }
  demandReport(report, optimizer, expected);
  const state = actual.stateDict();
  for (const layer of expected) adoptLayer(layer, optimizer, state, real);
  optimizer.steps++;
}

/** Rates and ratios are drawn at random, and weights may grow without limit: such a step is not made. */
export function hasRunAway({ weights, momentum, report }: ExpectedLayer): boolean {
  const most = 1e12;
  const isLarge = (value: number): boolean => !(Math.abs(value) < most);
  return report.updateNorm > most || weights.some(isLarge) || (momentum?.some(isLarge) ?? false);
}

export function demandReport(
  report: StepReport,
  optimizer: WorldOptimizer,
  expected: readonly ExpectedLayer[],
): void {
  demand(report.step === optimizer.steps + 1, () => `report: step ${report.step}`);
  const lr = rateOf(optimizer.groups[0]!.options.lr, optimizer.steps);
  demand(report.lr === lr, () => `report: lr ${report.lr}, expected ${lr}`);
  demand(!report.skipped, () => "report: skipped");
  demand(report.layers.length === expected.length, () => `report: ${report.layers.length} layers`);
  expected.forEach(({ layer, report: wanted, normTolerance }, index) => {
    const got = report.layers[index]!;
    demand(got.name === labelOf(optimizer, layer), () => `report: ${got.name}`);
    for (const field of ["weightNorm", "gradNorm", "clipScale"] as const) {
      // Sums of squares in float64; the clipping scale is a quotient of them.
      demand(near(got[field], wanted[field], 2e-6), () => {
        return `report of ${got.name}: ${field} ${got[field]}, expected ${wanted[field]}`;
      });
    }
    for (const field of ["updateNorm", "trustRatio"] as const) {
      demand(near(got[field], wanted[field], 2 * normTolerance + quantized(layer)), () => {
        return `report of ${got.name}: ${field} ${got[field]}, expected ${wanted[field]}`;
      });
    }
  });
}

/** Momentum that is being quantised may enter the update before or after. */
export function quantized({ momentum, group, parameter }: WorldLayer): number {
  const kind = wantedKind(group.options, parameter.size);
  return momentum?.kind === "float32" && kind === "blockwise" ? 0.1 : 0;
}

/** Checks what a step has made of a layer, and takes it over with all its bits. */
export function adoptLayer(
  expected: ExpectedLayer,
  optimizer: WorldOptimizer,
  state: StateDict,
  real: Real,
): void {
  const { layer } = expected;
  const { parameter } = layer;
  const label = labelOf(optimizer, layer);
  const { data } = realOf(real, parameter);
  demandNear(data, expected.weights, expected.weightTolerance, `step of ${label}: weights`);
  const saved = state.layers[optimizer.layers.indexOf(layer)]!;
  const { momentum } = saved;
  demand((momentum?.kind ?? "none") === expected.kind, () => {
    return `step of ${label}: momentum ${momentum?.kind ?? "none"}, expected ${expected.kind}`;
  });
  if (momentum !== null && expected.momentum !== null) {
    const what = `step of ${label}`;
    const untouched = demandUntouchedBlocks(layer, momentum, what);
    demandMomentum(momentum, expected.momentum, expected.momentumTolerance, what, untouched);
  }
  if (expected.history !== null) {
    const { gradientHistory: history } = saved;
    demand(history?.length === 100, () => `step of ${label}: no history`);
    expected.history.forEach((value, slot) => {
      // Squares of sums in float64.
      demand(near(history[slot]!, value, 4e-6), () => {
        return `step of ${label}: history ${slot} is ${history[slot]}, expected ${value}`;
      });
    });
  }
  demand(saved.step === layer.steps + 1, () => `step of ${label}: count ${saved.step}`);
  parameter.weights.values.set(data);
  layer.momentum = copyOfMomentum(momentum);
  layer.history = saved.gradientHistory?.slice() ?? null;
  layer.steps++;
}

/** A gradient that is not finite: an error that names the layer, or a step that is skipped. */
export function runNonFinite(
  { optimizer: pick, layer: layerPick, at: element, value }: Command & { kind: "nonFinite" },
  world: World,
  real: Real,
): void {
  const optimizer = optimizerAt(world, pick)!;
  const actual = real.optimizers[indexOf(world, optimizer)]!;
  const layer = at(
    optimizer.layers.filter(({ parameter }) => parameter.gradient !== null),
    layerPick,
  );
  if (layer === undefined) return;
  const { parameter } = layer;
  const { grad } = realOf(real, parameter);
  const index = element % parameter.size;
  const before = grad![index]!;
  grad![index] = value;
  const broken = optimizer.layers.filter(
    (other) => other.parameter.gradient === parameter.gradient,
  );
  const thrower = broken.find(({ group }) => group.options.nonFinite === "throw");
  if (thrower !== undefined) {
    const label = JSON.stringify(labelOf(optimizer, thrower));
    demandRefusal(() => actual.step(), [label], "step with a gradient that is not finite");
  } else {
    const report = actual.step();
    demand(report.skipped && report.step === optimizer.steps, () => "a step was not skipped");
  }
  grad![index] = before;
}
