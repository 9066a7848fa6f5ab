/** The confusion matrix of a test set, as counts that stay small for thousands of classes. */

import { checkInteger, checkObject } from "./check.js";
import { UsageError } from "./errors.js";

/** The most classes with complete counts. 50 classes have 2,450 kinds of mistakes. */
export const MAX_CLASSES = 50;
/** Kinds of mistakes that are kept. */
const MAX_MISTAKES = MAX_CLASSES * (MAX_CLASSES - 1);

/** The test samples of a class. */
export interface ClassCount {
  /** The place of the class in the data set. */
  readonly class: number;
  readonly samples: number;
  readonly correct: number;
}

/** Test samples of one class that were predicted as another. */
export interface Mistake {
  readonly class: number;
  readonly predicted: number;
  readonly samples: number;
}

export interface Confusion {
  /**
   * Every class in its order. Of more than 50 classes only the 50 with the lowest accuracy, lowest first.
   */
  readonly classes: readonly ClassCount[];
  /** Most frequent first; at most 2,450 kinds, which are all that 50 classes have. */
  readonly mistakes: readonly Mistake[];
  /** Classes and kinds of mistakes that are not listed. */
  readonly omitted: { readonly classes: number; readonly mistakes: number };
}

/**
 * Counts predictions by class.
 *
 * @param labels the class of each sample
 * @param predictions the most probable class of each sample, of the same length
 * @param classes how many classes there are
 */
export function countConfusion(
  labels: ArrayLike<number>,
  predictions: ArrayLike<number>,
  classes: number,
): Confusion {
  const samples = new Uint32Array(classes);
  const correct = new Uint32Array(classes);
  // Keys are pairs: a matrix of 65,536 classes would not fit into memory.
  const pairs = new Map<number, number>();
  for (let index = 0; index < labels.length; index++) {
    const label = labels[index]!;
    const predicted = predictions[index]!;
    samples[label]!++;
    if (predicted === label) correct[label]!++;
    else {
      const pair = label * classes + predicted;
      pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
    }
  }
  const counts = Array.from(samples, (count, index): ClassCount => {
    return { class: index, samples: count, correct: correct[index]! };
  });
  const mistakes = Array.from(pairs, ([pair, count]): Mistake => {
    return { class: Math.floor(pair / classes), predicted: pair % classes, samples: count };
  }).sort((a, b) => b.samples - a.samples || a.class - b.class || a.predicted - b.predicted);
  const listed = classes <= MAX_CLASSES ? counts : lowest(counts);
  return {
    classes: listed,
    mistakes: mistakes.slice(0, MAX_MISTAKES),
    omitted: {
      classes: classes - listed.length,
      mistakes: Math.max(0, mistakes.length - MAX_MISTAKES),
    },
  };
}

/** The classes of the lowest accuracy; those without test samples have none. */
function lowest(counts: readonly ClassCount[]): ClassCount[] {
  return counts
    .filter(({ samples }) => samples > 0)
    .sort((a, b) => a.correct / a.samples - b.correct / b.samples || a.class - b.class)
    .slice(0, MAX_CLASSES);
}

/** @throws UsageError unless the value has the form that {@link countConfusion} returns */
export function checkConfusion(what: string, value: unknown): void {
  const { classes, mistakes, omitted } = checkObject(what, value);
  checkCounts(`${what}: classes`, classes, ["class", "samples", "correct"]);
  checkCounts(`${what}: mistakes`, mistakes, ["class", "predicted", "samples"]);
  checkCounts(`${what}: omitted`, [omitted], ["classes", "mistakes"]);
}

function checkCounts(what: string, entries: unknown, fields: readonly string[]): void {
  if (!Array.isArray(entries)) {
    throw new UsageError(`${what}: expected an array, got ${JSON.stringify(entries)}`);
  }
  for (const entry of entries) {
    const counts = checkObject(what, entry);
    for (const field of fields) {
      checkInteger(`${what}: ${field}`, counts[field], { from: 0, to: 2 ** 32 });
    }
  }
}
