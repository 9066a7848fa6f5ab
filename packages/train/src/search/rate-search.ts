/**
 * The search: successive halving. Short runs of many settings, longer runs of the best, and at last the best one
 * against its neighbours. Nothing here trains: {@link searchSetting} is given a function that does.
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
export const TRIAL_PARTS = [1 / 60, 1 / 18, 1 / 10] as const;
/** Trials beyond the ends of the ladder. */
const MOST_EXTENSIONS = 4;
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
 * @param heldOut samples that scores are of, which tell how far two accuracies must lie apart to differ
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
  const first = await runAt(ladder.places, 0);
  let beyond = placesBeyond(ladder, first, heldOut);
  for (let left = MOST_EXTENSIONS; beyond.length > 0 && left > 0;) {
    const next = beyond.slice(0, left);
    left -= next.length;
    first.push(...(await runAt(next, 0)));
    beyond = placesBeyond(ladder, first, heldOut);
  }
  const survivors = ranked(first, heldOut).slice(0, SURVIVORS);
  const second = await runAt(placesOf(survivors), 1);
  const [best] = ranked(second, heldOut);
  if (best === undefined) return null;
  const third = await runAt([best.place, ...ladder.neighbours(best.place, 1 / 2)], 2);
  const [chosen] = ranked(third, heldOut);
  if (chosen === undefined) return null;
  const trials = [...first, ...second, ...third].map(({ trial }) => trial);
  const { lr, maxGradNorm } = chosen.trial;
  return { trials, chosen: { lr, maxGradNorm }, atEdge: beyond.length > 0 };
}

/**
 * Untried places beside the best, where it lies at an end. When nothing has learned, the ladder goes on below its lowest
 * rates.
 */
function placesBeyond(ladder: Ladder, tried: readonly Tried[], heldOut: number): Place[] {
  const [best] = ranked(tried, heldOut);
  const from = best?.place ?? lowest(tried);
  const wanted = ladder.neighbours(from, 1);
  const missing = wanted.filter((place) => !tried.some((other) => isSame(other.place, place)));
  return best === undefined
    ? missing.filter(({ rate, norm }) => isBelow({ rate, norm }, from))
    : missing;
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
 * are within one standard error of the best. Small data sets have few held-out samples, and many accuracies alike.
 */
function ranked(tried: readonly Tried[], heldOut: number): Tried[] {
  const finite = tried
    .filter(({ trial }) => trial.accuracy !== null)
    .toSorted((a, b) => b.trial.accuracy! - a.trial.accuracy! || a.trial.loss! - b.trial.loss!);
  const top = finite[0]?.trial.accuracy ?? 0;
  const error = Math.sqrt((top * (1 - top)) / heldOut);
  const alike = finite.filter(({ trial }) => trial.accuracy! >= top - error);
  return [
    ...alike.toSorted((a, b) => a.trial.loss! - b.trial.loss!),
    ...finite.slice(alike.length),
  ];
}
