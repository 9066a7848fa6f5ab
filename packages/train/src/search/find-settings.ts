/** Finds the rate and the clipping of every optimizer of a run. */
import { heldOutRows } from "../data/held-out.js";
import type { GradientPool } from "../gradients/pool.js";
import type { OptimizerName } from "../optimizers/names.js";
import type { Setting } from "../optimizers/options.js";
import { trainingPlan } from "../plan.js";
import type { Plan } from "../plan.js";
import { ladderOf } from "./ladder.js";
import type { Question } from "./ladder.js";
import { searchSetting } from "./rate-search.js";
import type { Trial } from "./rate-search.js";
import { runTrials } from "./run-trials.js";
import type { SavedSearch, SearchFile } from "./search-file.js";

export interface SearchParts {
  readonly plan: Plan;
  /** Of the training set. */
  readonly samples: number;
  readonly pool: GradientPool;
  readonly file: SearchFile;
  onTrial(optimizer: OptimizerName, trial: Trial): void;
}

/**
 * Searches the setting of one optimizer, or takes what an earlier search has found.
 *
 * @returns a search without a setting when every trial diverged
 */
export async function findSetting(question: Question, parts: SearchParts): Promise<SavedSearch> {
  const { optimizer } = question;
  const { plan, samples, pool, file } = parts;
  const saved = file.get(optimizer);
  if (saved?.done === true) return saved;
  const started = performance.now();
  const before = saved?.seconds ?? 0;
  const rows = heldOutRows(samples, plan.options.seed);
  const heldOut = rows.heldOut.length;
  const trials: Trial[] = [...(saved?.trials ?? [])];
  const write = (
    result: Pick<SavedSearch, "trials" | "chosen" | "atEdge" | "done">,
  ): SavedSearch => {
    const seconds = before + (performance.now() - started) / 1000;
    const search = { optimizer, heldOut, ...result, seconds };
    file.write(search);
    return search;
  };
  const found = await searchSetting(ladderOf(question), heldOut, (settings, rung) =>
    runTrials(settings, rung, {
      pool,
      rows,
      plan: trainingPlan(plan, optimizer, settings[0]!),
      known: (setting, ofRung) =>
        trials.find((trial) => trial.rung === ofRung && isSame(trial, setting)) ?? null,
      onTrial: (trial) => {
        trials.push(trial);
        parts.onTrial(optimizer, trial);
        write({ trials, chosen: null, atEdge: false, done: false });
      },
    }),
  );
  const nothing = { trials, chosen: null, atEdge: false };
  return write({ ...(found ?? nothing), done: true });
}

function isSame(a: Setting, b: Setting): boolean {
  return a.lr === b.lr && a.maxGradNorm === b.maxGradNorm;
}
