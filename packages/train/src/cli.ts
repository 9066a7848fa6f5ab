/** The command line: layerwise-train [train options], layerwise-train sweep [sweep options]. */
import { join } from "node:path";
import { Command } from "commander";
import { checkText } from "./check.js";
import { MISSING } from "./data/table-format.js";
import { shareOfCores } from "./distributed/cores.js";
import { joinTeam } from "./distributed/join-team.js";
import { isShared } from "./distributed/team.js";
import type { Team } from "./distributed/team.js";
import { endOnStrayErrors, endWith, exitCodeOf } from "./ending.js";
import { UsageError } from "./errors.js";
import { MODELS } from "./models/model.js";
import { INITS } from "./models/parameters.js";
import { RULES } from "./optimizers/names.js";
import { PRESETS } from "./optimizers/options.js";
import { SCHEDULES } from "./optimizers/rates.js";
import {
  DEFAULT_HIDDEN,
  DEFAULT_MICRO_BATCH,
  DEFAULT_OPTIMIZERS,
  checkOptions,
  checkThreads,
  optionName,
} from "./options.js";
import type { RawOptions } from "./options.js";
import { DEFAULT_EPOCHS } from "./plan.js";
import { executeRun, resumeRun, startRun } from "./run.js";
import type { Run } from "./run.js";
import { DEFAULT_BATCH_SIZES, DEFAULT_SWEEP_OPTIMIZERS } from "./sweep/sweep-options.js";
import { executeSweep, resumeSweep, startSweep } from "./sweep/sweep.js";
import { editDistance } from "./text.js";
import { VERSIONS } from "./versions.js";

/** What the arguments ask for. */
interface Work {
  /** What all processes must have been told alike. */
  readonly describes: object;
  run(team: Team): Promise<void>;
}

let work: Work | null = null;

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
    .option(
      "--epochs <count>",
      `passes over the training set (default: ${DEFAULT_EPOCHS}, more for fewer than 3,000 samples)`,
    )
    .option("--warmup-epochs <count>", "epochs in which the rate rises (default: a fifth of all)")
    .option("--schedule <name>", `${SCHEDULES.join(", ")} (default: polynomial, of power 2)`)
    .option("--momentum <value>", "from 0 to below 1 (default: the preset's, else 0.9)")
    .option("--nesterov", "Nesterov momentum, for lars too")
    .option(
      "--max-grad-norm <norm>",
      "limits the norm of all gradients together, for every optimizer; auto: searched with the rate (default: off)",
    )
    .option("--init <name>", `first weights: ${INITS.join(" or ")} (default: he)`)
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
      `${RULES.join(", ")}, each also with +clip, which searches a limit of the gradients' norm with the rate; several, separated by commas, are compared (default: ${DEFAULT_OPTIMIZERS.join(",")})`,
    )
    .option("--batch-size <samples>", "samples a step (default: 8192, less for small data sets)")
    .option(
      "--hold-out",
      "scores a held-out part of the training set and leaves the test set alone, for tuning by hand",
    )
    .option(
      "--lr <rate>",
      "the highest rate, or auto: searched for each optimizer on held-out training samples (default: auto, but for the documented setting)",
    )
    .option("--seed <number>", "of first weights, shuffles and held-out rows (default: 1)")
    .option(
      "--workers <count>",
      "threads that compute gradients, in each process (default: one a core, or its share of the cores)",
    )
    .option(
      "--shard-state",
      "splits the optimizer's state over the processes of mpirun; for lars and sgd optimizers",
    )
    .option("--out <folder>", "a new folder for the run (default: runs/<time>)")
    .option("--resume <folder>", "continues a run that was stopped")
    .action((options: RawOptions) => {
      checkCommand(program);
      const { out, resume, workers, ...training } = options;
      const threads = workers === undefined ? null : checkThreads("--workers", workers);
      if (resume === undefined) {
        const folder = typeof out === "string" ? out : join("runs", timestamp());
        const checked = checkOptions(training);
        work = {
          describes: training,
          run: (team) => train(startRun(checked, folder, team), threads),
        };
        return;
      }
      checkAlone({ ...training, out }, "--workers");
      const folder = checkText("--resume", resume);
      work = { describes: { resume }, run: (team) => train(resumeRun(folder, team), threads) };
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
      "auto, rates of all optimizers, 0.1,0.2, or of some, sgd=0.1,0.2; may be given several times (default: auto)",
      (text: string, before?: string[]) => [...(before ?? []), text],
    )
    .option(
      "--seeds <numbers>",
      "rates are chosen with the first; the best runs with all (default: 1)",
    )
    .option("--jobs <count>", "runs at a time (default: one a core)")
    .option("--out <folder>", "a new folder for the sweep (default: runs/sweep-<time>)")
    .option("--resume <folder>", "continues a sweep that was stopped")
    .action((options: RawOptions) => {
      checkNoneBefore(program.opts());
      const { out, resume, jobs, ...sweep } = options;
      const parallel = checkThreads("--jobs", jobs);
      if (resume === undefined) {
        const folder = typeof out === "string" ? out : join("runs", `sweep-${timestamp()}`);
        work = sweepWork(() => executeSweep(startSweep(sweep, folder), parallel));
        return;
      }
      checkAlone({ ...sweep, out }, "--jobs");
      const folder = checkText("--resume", resume);
      work = sweepWork(() => executeSweep(resumeSweep(folder), parallel));
    });
}

async function train(run: Run, workers: number | null): Promise<void> {
  await executeRun(run, workers ?? shareOfCores(run.team));
}

/** A sweep starts processes of its own. */
function sweepWork(run: () => Promise<void>): Work {
  return {
    describes: { sweep: true },
    run: async (team) => {
      team.together(() => {
        if (team.size === 1) return;
        throw new UsageError(
          `sweep: expected one process, got ${team.size}: its runs are processes of their own; start it without mpirun, or with --jobs`,
        );
      });
      await run();
    },
  };
}

/** Training takes options only: another word was meant to be a command, or an option's value. */
function checkCommand({ args, commands }: Command): void {
  const [word] = args;
  if (word === undefined) return;
  const names = commands.map((command) => command.name());
  const near = names.find((name) => editDistance(word, name) <= name.length / 2);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  throw new UsageError(`command: expected ${names.join(", ")} or options, got "${word}"${hint}`);
}

/** What stands before "sweep" would be an option of training. */
function checkNoneBefore(options: RawOptions): void {
  const [name] = Object.keys(options);
  if (name === undefined) return;
  throw new UsageError(`${optionName(name)}: expected after sweep, got before it`);
}

/** A run or a sweep that is resumed has its options already. */
function checkAlone(others: RawOptions, allowed: string): void {
  const [other] = Object.entries(others).filter(([, value]) => value !== undefined);
  if (other === undefined) return;
  throw new UsageError(
    `--resume: expected no other option but ${allowed}, got ${optionName(other[0])}; the options that it was started with apply`,
  );
}

/** layerwise-train 1.0.0 (layerwise 1.0.0, Node.js 20.19.0). */
function versionText(): string {
  const [own, ...others] = Object.entries(VERSIONS).map(([name, version]) => `${name} ${version}`);
  return `${own!} (${others.join(", ")})`;
}

/** 2026-01-31-12-00-00, in local time. */
function timestamp(): string {
  const now = new Date();
  const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19).replace(/[T:]/g, "-");
}

function createProgram(team: Team): Command {
  const program = new Command("layerwise-train")
    .description("Trains a classifier with LARS and with SGD, and shows what each optimizer did.")
    .version(versionText(), "-V, --version", "versions of the trainer and of layerwise")
    // Options after "sweep" are its own, although training has options of the same names.
    .enablePositionalOptions()
    // Words are looked at by the action, which knows what was meant.
    .allowExcessArguments()
    .exitOverride();
  // One process speaks for all.
  if (!team.isFirst)
    program.configureOutput({ writeOut: () => undefined, writeErr: () => undefined });
  trainCommand(program);
  sweepCommand(program);
  return program;
}

endOnStrayErrors();
// A sweep holds the other end of this channel: when it is killed, its cells must not train on.
process.on("disconnect", () => process.exit(1));
if ((process.connected as boolean | undefined) === false) process.exit(1);
// The channel alone keeps no process running.
process.channel?.unref();

try {
  const team = await joinTeam();
  try {
    const asked = team.together(() => {
      createProgram(team).parse();
      return work!;
    });
    team.agree([{ of: "command line", what: "options", value: JSON.stringify(asked.describes) }]);
    await asked.run(team);
  } catch (error) {
    if (team.size > 1 && !isShared(error)) {
      endWith(error);
      team.abort("layerwise-train could not go on");
    }
    process.exitCode = team.isFirst ? endWith(error) : exitCodeOf(error);
  }
  team.leave();
} catch (error) {
  process.exitCode = endWith(error);
}
