/**
 * The search: successive halving. Short runs of many settings, longer runs of the best, and finally the best one
 * against its neighbours. This file trains nothing: {@link searchSetting} takes a function that does.
 *
 * Source: Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization".
 */
import type { OptimizerName } from "../optimizers/names.js";
import type { Setting } from "../optimizers/options.js";
import type { Ladder, Place } from "./ladder.js";

/** One short run. accuracy and loss are of the held-out samples; null: diverged. */
export interface Trial {
  readonly lr: number;
  readonly maxGradNorm: number | null;
  /** 0, 1, 2: the shortest runs, those of the best, those of the best and its neighbours. */
  readonly rung: number;
  readonly batchSize: number;
  readonly steps: number;
  readonly loss: number | null;
  readonly accuracy: number | null;
}

/** What a search found for one optimizer. */
export interface RateSearch {
  readonly optimizer: OptimizerName;
  /** Training samples that were held out. */
  readonly heldOut: number;
  readonly trials: readonly Trial[];
  readonly chosen: Setting;
  /** The best setting lies at an end of what was tried: a better one may lie beyond. */
  readonly atEdge: boolean;
  readonly seconds: number;
}

/** Parts of the run's work that one trial of each rung takes. */
export const TRIAL_PARTS = [1 / 50, 1 / 20, 1 / 16] as const;
/** The rung that compares the best with its neighbours. */
export const LAST_RUNG = TRIAL_PARTS.length - 1;
/** Trials of the first and of the last rung beyond the ends of what was tried: with all of them, the trials are 0.75 of a run. */
const MOST_EXTENSIONS = { first: 3, last: 2 };
/** How near a rate that diverged is: the rates of the last rung are √2 apart. */
const NEXT_RATE = 1.5;
/** Trials of the second rung. */
const SURVIVORS = 4;

/** Runs trials of one rung, side by side; results are in the order of the settings. */
export type RunTrials = (settings: readonly Setting[], rung: number) => Promise<Trial[]>;

/** A trial and its place on the ladder. */
interface Tried {
  readonly place: Place;
  readonly trial: Trial;
}

/**
 * Finds a setting, with the same number of trials for every optimizer, extensions apart.
 *
 * @param heldOut samples behind each score, which determine when two accuracies differ
 * @returns null when every trial diverged
 */
export async function searchSetting(
  ladder: Ladder,
  heldOut: number,
  run: RunTrials,
): Promise<Pick<RateSearch, "trials" | "chosen" | "atEdge"> | null> {
  const runAt = async (places: readonly Place[], rung: number): Promise<Tried[]> => {
    const settings = places.map((place) => ladder.setting(place));
    const trials = await run(settings, rung);
    return trials.map((trial, index) => ({ place: places[index]!, trial }));
  };
  /** Runs places, then those beyond the best while it lies at an end. */
  const climb = async (places: readonly Place[], step: Step): Promise<Tried[]> => {
    const tried = await runAt(places, step.rung);
    for (let left = step.extensions; left > 0;) {
      const beyond = placesBeyond(ladder, ranked(tried, heldOut)[0], { tried, step }).slice(
        0,
        left,
      );
      if (beyond.length === 0) break;
      left -= beyond.length;
      tried.push(...(await runAt(beyond, step.rung)));
    }
    return tried;
  };
  const first = await climb(ladder.places, {
    rung: 0,
    distance: 1,
    extensions: MOST_EXTENSIONS.first,
  });
  const survivors = ranked(first, heldOut).slice(0, SURVIVORS);
  const second = await runAt(placesOf(survivors), 1);
  const best = ranked(second, heldOut)[0]?.place;
  if (best === undefined) return null;
  const around = [best, ...ladder.neighbours(best, 1 / 2)];
  const third = await climb(around, {
    rung: LAST_RUNG,
    distance: 1 / 2,
    extensions: MOST_EXTENSIONS.last,
  });
  const trials = [...first, ...second, ...third].map(({ trial }) => trial);
  const chosen = safest(alike(third, heldOut), trials);
  if (chosen === undefined) return null;
  const { lr, maxGradNorm } = chosen;
  return { trials, chosen: { lr, maxGradNorm }, atEdge: isAtEdge(chosen, trials) };
}

/** A rung, how far apart its places are, and how many more may follow. */
interface Step {
  readonly rung: number;
  readonly distance: number;
  readonly extensions: number;
}

/**
 * Untried places beside the best. When nothing has learned, those below the lowest.
 */
function placesBeyond(
  ladder: Ladder,
  best: Tried | undefined,
  { tried, step }: { tried: readonly Tried[]; step: Step },
): Place[] {
  const from = best?.place ?? lowest(tried);
  const missing = ladder
    .neighbours(from, step.distance)
    .filter((place) => !tried.some((other) => isSame(other.place, place)));
  return best === undefined ? missing.filter((place) => isBelow(place, from)) : missing;
}

/** Whether no rate beyond was tried, on one side, with the same limit. */
function isAtEdge(chosen: Trial, trials: readonly Trial[]): boolean {
  const rates = trials
    .filter(({ maxGradNorm }) => maxGradNorm === chosen.maxGradNorm)
    .map(({ lr }) => lr);
  return Math.min(...rates) === chosen.lr || Math.max(...rates) === chosen.lr;
}

function lowest(tried: readonly Tried[]): Place {
  return placesOf(tried).reduce((low, place) => (isBelow(place, low) ? place : low));
}

function isBelow(place: Place, other: Place): boolean {
  return place.rate + place.norm < other.rate + other.norm;
}

function isSame(a: Place, b: Place): boolean {
  return a.rate === b.rate && a.norm === b.norm;
}

function placesOf(tried: readonly Tried[]): Place[] {
  return tried.map(({ place }) => place);
}

/**
 * The trials that did not diverge, best first: by accuracy, and the first by loss among those whose accuracies
 * are alike. Small data sets have few held-out samples, and many accuracies alike.
 */
function ranked(tried: readonly Tried[], heldOut: number): Tried[] {
  const top = alike(tried, heldOut);
  const rest = byAccuracy(tried).filter((other) => !top.includes(other));
  return [...top, ...rest];
}

/** Those within one standard error of the best, by loss. */
function alike(tried: readonly Tried[], heldOut: number): Tried[] {
  const finite = byAccuracy(tried);
  const top = finite[0]?.trial.accuracy ?? 0;
  const error = Math.sqrt((top * (1 - top)) / heldOut);
  return finite
    .filter(({ trial }) => trial.accuracy! >= top - error)
    .toSorted((a, b) => a.trial.loss! - b.trial.loss!);
}

function byAccuracy(tried: readonly Tried[]): Tried[] {
  return tried
    .filter(({ trial }) => trial.accuracy !== null)
    .toSorted((a, b) => b.trial.accuracy! - a.trial.accuracy!);
}

/** The first that is not next to a rate that diverged, if any: whole batches and other seeds tolerate less. */
function safest(candidates: readonly Tried[], trials: readonly Trial[]): Trial | undefined {
  const isSafe = ({ lr, maxGradNorm }: Trial): boolean =>
    !trials.some(
      (other) =>
        other.accuracy === null &&
        other.maxGradNorm === maxGradNorm &&
        other.lr > lr &&
        other.lr < lr * NEXT_RATE,
    );
  const found = candidates.map(({ trial }) => trial);
  return found.find(isSafe) ?? found[0];
}
