#!/usr/bin/env node
/** The command line: layerwise-train [train options], layerwise-train sweep [sweep options]. */
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { checkText } from "./check.js";
import { MISSING } from "./data/table-format.js";
import { TrainingError, UsageError, messageOf } from "./errors.js";
import { MODELS } from "./models/model.js";
import { OPTIMIZERS, PRESETS, SCHEDULES } from "./optimizers.js";
import {
  DEFAULT_EPOCHS,
  DEFAULT_HIDDEN,
  DEFAULT_MICRO_BATCH,
  DEFAULT_OPTIMIZERS,
  checkOptions,
  checkThreads,
  optionName,
} from "./options.js";
import type { RawOptions } from "./options.js";
import { executeRun, resumeRun, startRun } from "./run.js";
import { DEFAULT_BATCH_SIZES, DEFAULT_SWEEP_OPTIMIZERS } from "./sweep/sweep-options.js";
import { executeSweep, resumeSweep, startSweep } from "./sweep/sweep.js";

/** What a training run and the runs of a sweep have in common. */
function addTrainingOptions(command: Command): Command {
  return command
    .option("--model <name>", `${MODELS.join(" or ")} (default: mlp)`)
    .option("--hidden <sizes>", `hidden layers of the MLP (default: ${DEFAULT_HIDDEN.join(",")})`)
    .option("--data <path>", "a folder of IDX files or a table FILE.csv (default: MNIST)")
    .option(
      "--label <column>",
      "the column of a table that has the classes: its name, or its number with --no-header",
    )
    .option("--delimiter <character>", "between the cells of a table, or tab (default: a comma)")
    .option("--header", "the first line of a table names its columns (default)")
    .option("--no-header", "a table begins with its first row; columns count from 1")
    .option("--missing <how>", `empty cells, NA, NaN, ?: ${MISSING.join(" or ")} (default: refuse)`)
    .option(
      "--micro-batch <samples>",
      `samples whose gradients are computed together (default: ${DEFAULT_MICRO_BATCH.mlp}, ${DEFAULT_MICRO_BATCH.lenet} for lenet)`,
    )
    .option("--epochs <count>", `passes over the training set (default: ${DEFAULT_EPOCHS})`)
    .option("--warmup-epochs <count>", "epochs in which the rate rises (default: a fifth of all)")
    .option("--schedule <name>", `${SCHEDULES.join(", ")} (default: polynomial, of power 2)`)
    .option("--momentum <value>", "from 0 to below 1 (default: the preset's, else 0.9)")
    .option("--nesterov", "Nesterov momentum")
    .option(
      "--weight-decay <value>",
      "of matrices, not of biases (default: the preset's, else 1e-4)",
    )
    .option("--max-unorm <value>", "rule clip-update: the largest update norm over weight norm")
    .option("--trust-coefficient <value>", "rule scale-gradient: its coefficient (default: 0.02)")
    .option("--preset <name>", `a known LARS: ${PRESETS.join(", ")}`)
    .option("--percentile-clipping <percentile>", "clips gradients, from 1 to 100, which is off");
}

function trainCommand(program: Command): void {
  addTrainingOptions(program)
    .option(
      "--optimizer <names>",
      `${OPTIMIZERS.join(", ")}; several, separated by commas, are compared (default: ${DEFAULT_OPTIMIZERS.join(",")})`,
    )
    .option("--batch-size <samples>", "samples a step (default: 8192, less for small data sets)")
    .option("--lr <rate>", "the highest rate (default: tuned for each optimizer)")
    .option("--seed <number>", "of first weights, shuffles and held-out rows (default: 1)")
    .option("--workers <count>", "threads that compute gradients (default: one a core)")
    .option("--out <folder>", "a new folder for the run (default: runs/<time>)")
    .option("--resume <folder>", "goes on with a run that was stopped")
    .action(async (options: RawOptions) => {
      const { out, resume, workers, ...training } = options;
      const threads = checkThreads("--workers", workers);
      if (resume === undefined) {
        const folder = typeof out === "string" ? out : join("runs", timestamp());
        await executeRun(startRun(checkOptions(training), folder), threads);
        return;
      }
      checkAlone({ ...training, out }, "--workers");
      await executeRun(resumeRun(checkText("--resume", resume)), threads);
    });
}

function sweepCommand(program: Command): void {
  addTrainingOptions(
    program
      .command("sweep")
      .description(
        "Trains optimizers × batch sizes × rates × seeds, into one table and one chart.",
      ),
  )
    .option(
      "--optimizer <names>",
      `several, separated by commas (default: ${DEFAULT_SWEEP_OPTIMIZERS.join(",")})`,
    )
    .option(
      "--batch-size <sizes>",
      `several, separated by commas (default: ${DEFAULT_BATCH_SIZES.join(",")})`,
    )
    .option(
      "--lr <rates>",
      "rates of all optimizers, 0.1,0.2, or of some, sgd=0.1,0.2; may be given several times (default: factors of the default rate)",
      (text: string, before?: string[]) => [...(before ?? []), text],
    )
    .option("--seeds <numbers>", "the first tries all rates, the others the best (default: 1)")
    .option("--jobs <count>", "runs at a time (default: one a core)")
    .option("--out <folder>", "a new folder for the sweep (default: runs/sweep-<time>)")
    .option("--resume <folder>", "goes on with a sweep that was stopped")
    .action(async (options: RawOptions) => {
      const { out, resume, jobs, ...sweep } = options;
      const parallel = checkThreads("--jobs", jobs);
      if (resume === undefined) {
        const folder = typeof out === "string" ? out : join("runs", `sweep-${timestamp()}`);
        await executeSweep(startSweep(sweep, folder), parallel);
        return;
      }
      checkAlone({ ...sweep, out }, "--jobs");
      await executeSweep(resumeSweep(checkText("--resume", resume)), parallel);
    });
}

/** A run or a sweep that goes on has its options already. */
function checkAlone(others: RawOptions, allowed: string): void {
  const [other] = Object.entries(others).filter(([, value]) => value !== undefined);
  if (other === undefined) return;
  throw new UsageError(
    `--resume: got ${optionName(other[0])} with it; it goes on with the options that it has (only ${allowed} may be given)`,
  );
}

/** 2026-01-31-12-00-00, in local time. */
function timestamp(): string {
  const now = new Date();
  const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19).replace(/[T:]/g, "-");
}

/** The exit code of anything that was thrown, which is printed unless it was before. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  // What went wrong in training was printed where it happened.
  if (error instanceof TrainingError) return 1;
  if (error instanceof UsageError) {
    console.error(`layerwise-train: ${error.message}`);
    return 2;
  }
  console.error(error instanceof Error ? error.stack : messageOf(error));
  return 1;
}

const program = new Command("layerwise-train")
  .description("Trains a classifier with LARS and with SGD, and shows what each optimizer did.")
  // Options after "sweep" are its own, although training has options of the same names.
  .enablePositionalOptions()
  .exitOverride();
trainCommand(program);
sweepCommand(program);

// A sweep holds the other end of this channel: when it is killed, its cells must not train on.
process.on("disconnect", () => process.exit(1));
// The channel alone keeps no process running.
process.channel?.unref();

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
