/** Weights and states as facts that processes compare: arrays by their checksums. */
import { shown } from "../check.js";
import type { Parameter } from "../optimizer/parameter.js";
import { momentumArrays } from "../state/momentum.js";
import type { StateDict } from "../state/saved-state.js";
import type { Fact } from "./agreement.js";
import { checksumOf } from "./checksum.js";

export function describeWeights(parameters: readonly Parameter[]): Fact[] {
  return parameters.map(({ name, data }, position) => ({
    of: labelOf(name, position),
    what: "weights of checksum",
    value: hexadecimal(checksumOf([data])),
  }));
}

/** @param state checked */
export function describeState({ step, layers }: StateDict): Fact[] {
  const facts = [
    { of: "state", what: "steps", value: String(step) },
    { of: "state", what: "number of layers", value: String(layers.length) },
  ];
  layers.forEach(({ name, shape, step: steps, momentum, gradientHistory }, position) => {
    const of = `state of ${labelOf(name ?? undefined, position)}`;
    const history = gradientHistory === null ? [] : [gradientHistory];
    const checksum = checksumOf([...momentumArrays(momentum), ...history]);
    facts.push(
      { of, what: "shape", value: `[${shape.join(", ")}]` },
      { of, what: "steps", value: String(steps) },
      { of, what: "momentum", value: momentum?.kind ?? "none" },
      { of, what: "checksum", value: hexadecimal(checksum) },
    );
  });
  return facts;
}

function labelOf(name: string | undefined, position: number): string {
  return name === undefined ? `layer ${position}` : `layer ${shown(name)}`;
}

function hexadecimal(sum: number): string {
  return sum.toString(16).padStart(8, "0");
}
