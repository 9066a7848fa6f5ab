/** Trains trials, several at a time. */
import { TrainingError } from "../errors.js";
import type { GradientPool, LaneRows } from "../gradients/pool.js";
import type { Setting } from "../optimizers/options.js";
import type { TrainingPlan } from "../plan.js";
import { Training } from "../training.js";
import { TRIAL_PARTS } from "./rate-search.js";
import type { Trial } from "./rate-search.js";
import { trialPlan } from "./trial-plan.js";

export interface TrialParts {
  readonly pool: GradientPool;
  readonly rows: LaneRows;
  /** The whole run; trials differ in rate and length. */
  readonly plan: TrainingPlan;
  /** Trials that a stopped search left. */
  known(setting: Setting, rung: number): Trial | null;
  /** A trial that is done. */
  onTrial(trial: Trial): void;
}

/** Runs the trials of a rung. Results have the same bits however many run at a time. */
export async function runTrials(
  settings: readonly Setting[],
  rung: number,
  parts: TrialParts,
): Promise<Trial[]> {
  const lanes = Math.min(settings.length, parts.pool.mostLanes);
  const trials = new Array<Trial>(settings.length);
  const waiting = settings.map((setting, index) => ({ setting, index }));
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const known = parts.known(next.setting, rung);
      const trial = known ?? (await runTrial(next.setting, rung, { ...parts, lanes }));
      if (known === null) parts.onTrial(trial);
      trials[next.index] = trial;
    }
  };
  await Promise.all(Array.from({ length: lanes }, work));
  return trials;
}

async function runTrial(
  setting: Setting,
  rung: number,
  { pool, rows, plan, lanes }: TrialParts & { lanes: number },
): Promise<Trial> {
  const lane = pool.open(rows, lanes);
  const part = TRIAL_PARTS[rung]!;
  const short = trialPlan({ ...plan, setting }, { samples: rows.training.length, part });
  const training = new Training(short, lane);
  const { batchSize } = short;
  const steps = short.epochs * short.stepsPerEpoch;
  try {
    for (let epoch = 0; epoch < short.epochs; epoch++) await training.trainEpoch(() => undefined);
    const score = await training.evaluate();
    const loss = score.loss / lane.evaluated;
    const accuracy = score.correct / lane.evaluated;
    return { ...setting, rung, batchSize, steps, loss, accuracy };
  } catch (error) {
    if (!(error instanceof TrainingError)) throw error;
    return { ...setting, rung, batchSize, steps, loss: null, accuracy: null };
  } finally {
    training.dispose();
    lane.close();
  }
}
