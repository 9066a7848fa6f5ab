/** search.json: the trials of a run's searches, so that a stopped search continues. */
import { checkChoice, checkInteger, checkNumber, checkObject } from "../check.js";
import { parseConfig } from "../config-file.js";
import { UsageError } from "../errors.js";
import { readIfThere, writeAtomically } from "../files.js";
import { OPTIMIZERS } from "../optimizers/names.js";
import type { OptimizerName } from "../optimizers/names.js";
import type { Setting } from "../optimizers/options.js";
import type { RateSearch, Trial } from "./rate-search.js";

const FORMAT = "layerwise-train.search";
const VERSION = 1;
/** A trial is about 200 bytes. */
const MAX_BYTES = 2 ** 24;

/** A search as far as it has come. */
export interface SavedSearch extends Omit<RateSearch, "chosen"> {
  /** null: the search is not done, or every trial diverged. */
  readonly chosen: Setting | null;
  readonly done: boolean;
}

export class SearchFile {
  /** null: another process writes it. */
  readonly #file: string | null;
  readonly #searches = new Map<OptimizerName, SavedSearch>();

  private constructor(file: string | null, searches: readonly SavedSearch[]) {
    this.#file = file;
    for (const search of searches) this.#searches.set(search.optimizer, search);
  }

  /** @throws UsageError when the file is damaged */
  static read(file: string): SearchFile {
    const bytes = readIfThere(file, MAX_BYTES);
    if (bytes === null) return new SearchFile(file, []);
    const { searches } = parseConfig(file, bytes, { format: FORMAT, version: VERSION });
    if (!Array.isArray(searches)) throw new UsageError(`${file}: searches: expected a list`);
    const checked = searches.map((value) => checkedSearch(file, value));
    return new SearchFile(file, checked);
  }

  /** The searches of a file that another process reads and writes. */
  static elsewhere(searches: readonly SavedSearch[]): SearchFile {
    return new SearchFile(null, searches);
  }

  get all(): SavedSearch[] {
    return [...this.#searches.values()];
  }

  /** All searches that found a setting, in the order in which they were made. */
  get found(): RateSearch[] {
    return [...this.#searches.values()].flatMap(({ done, chosen, ...search }) =>
      done && chosen !== null ? [{ ...search, chosen }] : [],
    );
  }

  get(optimizer: OptimizerName): SavedSearch | null {
    return this.#searches.get(optimizer) ?? null;
  }

  write(search: SavedSearch): void {
    this.#searches.set(search.optimizer, search);
    if (this.#file === null) return;
    const content = { format: FORMAT, version: VERSION, searches: this.all };
    writeAtomically(this.#file, `${JSON.stringify(content, null, 2)}\n`);
  }
}

function checkedSearch(file: string, value: unknown): SavedSearch {
  const search = checkObject(`${file}: searches`, value);
  const optimizer = checkChoice(`${file}: optimizer`, search.optimizer, OPTIMIZERS);
  const what = `${file}: ${optimizer}`;
  if (!Array.isArray(search.trials)) {
    throw new UsageError(
      `${what}: trials: expected an array, got ${JSON.stringify(search.trials)}`,
    );
  }
  return {
    optimizer,
    heldOut: checkInteger(`${what}: heldOut`, search.heldOut, { from: 1, to: 2 ** 31 }),
    trials: search.trials.map((trial) => checkedTrial(`${what}: trials`, trial)),
    chosen: search.chosen === null ? null : checkedSetting(`${what}: chosen`, search.chosen),
    atEdge: search.atEdge === true,
    seconds: checkNumber(`${what}: seconds`, search.seconds, { from: 0 }),
    done: search.done === true,
  };
}

/** @throws UsageError unless the value is a trial */
export function checkedTrial(what: string, value: unknown): Trial {
  const trial = checkObject(what, value);
  const whole = (name: string): number =>
    checkInteger(`${what}: ${name}`, trial[name], { from: 0, to: 2 ** 31 });
  const score = (name: string): number | null =>
    trial[name] === null ? null : checkNumber(`${what}: ${name}`, trial[name], { from: 0 });
  return {
    ...checkedSetting(what, trial),
    rung: whole("rung"),
    batchSize: whole("batchSize"),
    steps: whole("steps"),
    loss: score("loss"),
    accuracy: score("accuracy"),
  };
}

/** @throws UsageError unless the value has a rate and a limit of the gradients' norm, or null for none */
export function checkedSetting(what: string, value: unknown): Setting {
  const { lr, maxGradNorm } = checkObject(what, value);
  const positive = { from: 0, above: true };
  return {
    lr: checkNumber(`${what}: lr`, lr, positive),
    maxGradNorm:
      maxGradNorm === null ? null : checkNumber(`${what}: maxGradNorm`, maxGradNorm, positive),
  };
}
