/** Weights and state that start alike on all processes, and a check that weights still are. */
import { checkArray, shown } from "../check.js";
import type { LARS } from "../optimizer/lars.js";
import type { Parameter } from "../optimizer/parameter.js";
import type { Momentum } from "../state/momentum.js";
import { emptyMomentum, momentumArrays } from "../state/momentum.js";
import type { StateDict } from "../state/saved-state.js";
import { groupedRanks, shownRanks, together } from "./agreement.js";
import { checksumOf } from "./checksum.js";
import type { Collective } from "./collective.js";
import { broadcastText } from "./texts.js";

/**
 * Gives all processes rank 0's weights.
 *
 * @throws TypeError or RangeError on every process if weights are gone on one
 */
export function broadcastWeights(collective: Collective, parameters: readonly Parameter[]): void {
  if (collective.size === 1) return;
  const arrays = together(collective, () => parameters.map(weightsOf));
  collective.broadcast(arrays);
}

/** @throws RangeError for a disposed parameter's */
function weightsOf({ data, name, size }: Parameter, position: number): Float32Array {
  const label = name ?? `layer ${position}`;
  return checkArray(`layer ${shown(label)}: data`, data, Float32Array, size);
}

/**
 * Gives all processes rank 0's state: step counts, momentum, clipping histories.
 *
 * @throws on every process if one can't save or load it, for lack of memory for example
 */
export function broadcastState(collective: Collective, optimizer: LARS): void {
  if (collective.size === 1) return;
  const { rank } = collective;
  const saved = together(collective, () => (rank === 0 ? optimizer.stateDict() : null));
  const outline = broadcastText(collective, saved === null ? "" : JSON.stringify(outlineOf(saved)));
  const state = together(collective, () => saved ?? emptyState(JSON.parse(outline) as Outline));
  const arrays = state.layers.flatMap(({ momentum, gradientHistory }) => [
    ...momentumArrays(momentum),
    ...(gradientHistory === null ? [] : [gradientHistory]),
  ]);
  for (const array of arrays) collective.broadcast(array);
  together(collective, () => optimizer.loadStateDict(state));
}

/** A state without its arrays: the lengths and kinds that it takes to make them. */
interface Outline {
  readonly step: number;
  readonly layers: readonly {
    readonly name: string | null;
    readonly shape: number[];
    readonly step: number;
    readonly momentum: Momentum["kind"] | null;
    readonly history: number | null;
  }[];
}

function outlineOf({ step, layers }: StateDict): Outline {
  return {
    step,
    layers: layers.map(({ momentum, gradientHistory, ...layer }) => ({
      ...layer,
      momentum: momentum?.kind ?? null,
      history: gradientHistory?.length ?? null,
    })),
  };
}

function emptyState({ step, layers }: Outline): StateDict {
  return {
    step,
    layers: layers.map(({ name, shape, step: steps, momentum, history }) => ({
      name,
      shape,
      step: steps,
      momentum: momentum === null ? null : emptyMomentum(momentum, sizeOf(shape)),
      gradientHistory: history === null ? null : new Float64Array(history),
    })),
  };
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}

/**
 * Compares all weights over all processes, by a checksum.
 *
 * @param step made so far, for the error
 * @throws Error on every process if bits differ; it names the ranks
 */
export function expectSameWeights(
  collective: Collective,
  parameters: readonly Parameter[],
  step: number,
): void {
  if (collective.size === 1) return;
  const sums = new Uint32Array(collective.size);
  sums[collective.rank] = checksumOf(parameters.map(({ data }) => data));
  collective.allGather(
    sums,
    Array.from(sums, () => 1),
  );
  const groups = groupedRanks(sums);
  if (groups.length === 1) return;
  const list = groups.map(
    ([sum, ranks]) => `${sum.toString(16).padStart(8, "0")} on ${shownRanks(ranks)}`,
  );
  throw new Error(
    `weights after step ${step}: expected the same bits on all ranks, got checksums ${list.join(", ")}`,
  );
}
