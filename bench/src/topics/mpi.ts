import type { Effort } from "../measure/in-new-process.js";
import { AGREED, MESSAGES } from "../mpi/norms.js";
import { isInstalled, LIBRARIES, runJob } from "../mpi/run-job.js";
import { SHARDED, WHOLE } from "../mpi/steps.js";
import { LIBRARY, MEMCPY, TREE } from "../mpi/sums.js";
import type { JobOutcome, JobRow, JobTask } from "../mpi/task.js";
import { timeTrainer } from "../mpi/trainer.js";
import type { TrainerRun } from "../mpi/trainer.js";
import { spread } from "../results.js";
import type { Table } from "../results.js";
import { ratioOf, spreadOf } from "../timing.js";

/** What is kept of a run; the model of step time is checked against its sums. */
export type MpiRaw =
  | { readonly kind: JobTask["kind"]; readonly outcome: JobOutcome }
  | { readonly kind: "trainer"; readonly library: string; readonly runs: readonly TrainerRun[] };

const KIB = 1024;
/** 64 KiB … 256 MiB of float32. */
const ELEMENTS = [0, 1, 2, 3, 4, 5, 6].map((step) => 2 ** (14 + 2 * step));
/** 1 MiB, 16 MiB, and the gradients of ResNet-50. */
const ELEMENTS_BY_PROCESSES = [2 ** 18, 2 ** 22, 25_557_032];
/** Two norms of each of ResNet-50's 161 layers. */
const DOUBLES = 2 * 161;

export async function* mpi({ quick, rounds }: Effort) {
  const installed = LIBRARIES.filter((library) => {
    if (isInstalled(library)) return true;
    console.warn(`mpi: ${library} is not installed (Debian: openmpi-bin, mpich); left out`);
    return false;
  });
  const raw: MpiRaw[] = [];
  for (const library of installed) {
    const add = async (processes: number, kind: JobTask["kind"], sizes: readonly number[]) => {
      raw.push({ kind, outcome: await runJob(library, processes, { kind, sizes, rounds }) });
    };
    await add(2, "sums", quick ? ELEMENTS.slice(0, 4) : ELEMENTS);
    await add(2, "norms", [DOUBLES]);
    raw.push({ kind: "trainer", library, runs: await timeTrainer(library, quick ? 1 : 5) });
    for (const processes of quick ? [2] : [2, 4, 8]) await add(processes, "steps", [32, 8]);
    for (const processes of quick ? [4] : [4, 8]) {
      await add(processes, "sums", quick ? [2 ** 18] : ELEMENTS_BY_PROCESSES);
    }
    yield { title: "Processes, on MPI", tables: tablesOf(raw), raw };
  }
}

function tablesOf(raw: readonly MpiRaw[]): Table[] {
  const of = (kind: JobTask["kind"]): JobOutcome[] =>
    raw.flatMap((entry) =>
      entry.kind !== "trainer" && entry.kind === kind ? [entry.outcome] : [],
    );
  return [
    {
      title: "The trainer on two processes",
      notes: [
        "`layerwise-train` with `--workers 1`: samples a second of one process and of two, MLP 784-300-100-10, batch 8,192, without the first epoch. Runs are in turn, and all end with the same losses, to the bit. Ratios are taken within each round, of its medians.",
      ],
      head: ["library", "1 process, samples/s", "2 processes, samples/s", "ratio"],
      rows: raw.flatMap((entry) => (entry.kind === "trainer" ? [trainerRow(entry)] : [])),
    },
    {
      title: "Sums over all processes",
      notes: [
        "An all-reduce in the fixed order, checked to the bit, next to `MPI_Allreduce` of the same array in place and to a copy of as many bytes by every process at once (`TypedArray.set`). Ratios are of speeds: above 1, the fixed order is faster. All processes are on this machine: with more of them than cores, they take turns, and MPI waits busily.",
      ],
      head: [
        ...["library", "processes", "KiB", "fixed order, ms", "`MPI_Allreduce`, ms"],
        ...["copy, ms", "speed to `MPI_Allreduce`", "speed to a copy"],
      ],
      rows: of("sums").flatMap((outcome) => outcome.rows.map((row) => sumsRow(outcome, row))),
    },
    {
      title: "The exchange of ResNet-50's norms",
      notes: [
        "322 doubles, of which every process has an equal part and gets all. The collective compares the call over all processes first, which is a message of its own.",
      ],
      head: ["library", "processes", "doubles", "collective, µs", "`MPI_Allgather`, µs"],
      rows: of("norms").flatMap((outcome) => outcome.rows.map((row) => normsRow(outcome, row))),
    },
    {
      title: "State on each process, and a step over ResNet-50",
      notes: [
        "25,557,032 parameters. State is what the optimizer of the process with the most holds. A step sums the gradients over all processes, and gives all the same weights, which are checked: two steps have, to the bit, the weights of LARS on one process. One thread a process; all processes are on this machine.",
      ],
      head: [
        ...["library", "processes", "bits"],
        ...["state, whole, bytes", "state, sharded, bytes", "whole / sharded"],
        ...["`DataParallel`, ms", "`ShardedLARS`, ms"],
      ],
      rows: of("steps").flatMap((outcome) => outcome.rows.map((row) => stepsRow(outcome, row))),
    },
  ];
}

function trainerRow({ library, runs }: Extract<MpiRaw, { kind: "trainer" }>): string[] {
  const [one, two] = [1, 2].map((count) => runs.filter(({ processes }) => processes === count)) as [
    TrainerRun[],
    TrainerRun[],
  ];
  const all = (of: readonly TrainerRun[]): string =>
    spread(spreadOf(of.flatMap(({ samplesPerSecond }) => samplesPerSecond)));
  const medians = (of: readonly TrainerRun[]): number[] =>
    of.map(({ samplesPerSecond }) => spreadOf(samplesPerSecond).median);
  return [library, all(one), all(two), spread(ratioOf(medians(two), medians(one)))];
}

function stepsRow({ library, processes }: JobOutcome, { size, samples, stateBytes }: JobRow) {
  const names = [WHOLE, SHARDED];
  return [
    ...[library, String(processes), String(size)],
    ...names.map((name) => stateBytes![name]!.toLocaleString("en")),
    (stateBytes![WHOLE]! / stateBytes![SHARDED]!).toFixed(2),
    ...names.map((name) => spread(spreadOf(samples[name]!))),
  ];
}

function sumsRow({ library, processes }: JobOutcome, { size, samples }: JobRow): string[] {
  const [tree, reduced, copied] = [TREE, LIBRARY, MEMCPY].map((name) => samples[name]!) as [
    readonly number[],
    readonly number[],
    readonly number[],
  ];
  return [
    ...[library, String(processes), ((4 * size) / KIB).toFixed(0)],
    ...[tree, reduced, copied].map((ms) => spread(spreadOf(ms))),
    ...[reduced, copied].map((ms) => spread(ratioOf(ms, tree))),
  ];
}

function normsRow({ library, processes }: JobOutcome, { size, samples }: JobRow): string[] {
  const microseconds = (name: string): string =>
    spread(spreadOf(samples[name]!.map((ms) => 1000 * ms)));
  return [...[library, String(processes), String(size)], ...[AGREED, MESSAGES].map(microseconds)];
}
