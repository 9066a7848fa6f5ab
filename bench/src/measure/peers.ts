/** The library against Python's optimizers: two programs, one step of each rival in turn. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { model } from "../models/model.js";
import { CHECKED_STEPS } from "../oracle.js";
import { PythonPeers } from "../peers/python.js";
import type { PeerFound, PeerMissing } from "../peers/python.js";
import { oneLayer } from "../problem.js";
import type { Problem } from "../problem.js";
import { byExpectation, float32SumsTolerance, Judge } from "../rival.js";
import type { Check, Rival } from "../rival.js";
import { Copy } from "../rivals/copy.js";
import { allocatedParameters, LarsRivals } from "../rivals/layerwise.js";
import { plainLoop } from "../rivals/plain-loop.js";
import { bytesPerParameter } from "../rules.js";
import type { Computed } from "../rules.js";
import { spreadOf, ratioOf, timeInTurn } from "../timing.js";
import type { Contender, Samples, Spread } from "../timing.js";
import type { Effort } from "./in-new-process.js";
import type { ProblemName } from "./step-time.js";

export interface PeersTask extends Effort {
  readonly problem: ProblemName;
  readonly threads: 1 | 2;
}

export interface PeersRow {
  readonly name: string;
  readonly rule: Computed | "copy";
  readonly bits: 8 | 32;
  readonly time: Spread;
  /** To our own 32-bit step of the same round. */
  readonly toOurs: Spread;
  readonly samples: Samples;
}

export interface PeerTimes {
  readonly problem: string;
  readonly size: number;
  readonly threads: number;
  readonly versions: readonly string[];
  readonly missing: readonly PeerMissing[];
  readonly checks: readonly Check[];
  readonly rows: readonly PeersRow[];
}

/** Threads of the program before look out for work a little while (OpenMP's: milliseconds) before they sleep. */
const QUIET_MS = 15;

const COPIED = bytesPerParameter("clip-update", 32);

export async function measure(task: PeersTask): Promise<PeerTimes> {
  const problem =
    typeof task.problem === "number" ? oneLayer(2 ** task.problem) : model(task.problem);
  const folder = mkdtempSync(join(tmpdir(), "layerwise-peers-"));
  const python = new PythonPeers(task.threads);
  try {
    return await compare(task, problem, python, folder);
  } finally {
    python.end();
    rmSync(folder, { recursive: true });
  }
}

async function compare(
  { threads, rounds }: PeersTask,
  problem: Problem,
  python: PythonPeers,
  folder: string,
): Promise<PeerTimes> {
  const files = { weights: join(folder, "weights"), gradients: join(folder, "gradients") };
  writeFileSync(files.weights, joined(problem.weights));
  writeFileSync(files.gradients, joined(problem.gradients));
  const sizes = problem.weights.map(({ length }) => length);
  const { rivals: found, missing } = await python.load(sizes, files);

  const parameters = allocatedParameters(problem);
  const ours: Rival[] = [];
  for (const bits of [32, 8] as const) {
    const lars = new LarsRivals(problem, parameters, { where: "own memory", bits, threads });
    await lars.ready();
    ours.push(lars.rival("clip-update"));
  }
  if (threads === 1) ours.push(plainLoop(problem));
  else ours.push({ ...plainLoop(problem), name: "plain JavaScript loop (1 thread)" });
  const theirs = found.map((peer) =>
    peerRival(peer, python, problem, join(folder, "out"), threads),
  );

  const judge = new Judge(problem);
  const rivals = [...ours, ...theirs];
  const checks: Check[] = [];
  for (const rival of byExpectation(rivals)) checks.push(await judge.check(rival));

  const copy = new Copy(problem.size * COPIED);
  copy.check();
  const contenders: Contender[] = [
    ...rivals.map((rival) => ({
      name: rival.name,
      prepare: () => sleep(QUIET_MS),
      step: () => rival.step(),
      ...("burst" in rival ? { burst: rival.burst as Contender["burst"] & {} } : {}),
    })),
    {
      name: "SIMD copy",
      prepare: () => sleep(QUIET_MS),
      step: () => {
        copy.run(problem.size * COPIED, threads);
      },
    },
  ];
  const samples = await timeInTurn(contenders, rounds);
  const rows = contenders.map(({ name }, index): PeersRow => {
    const rival = rivals[index];
    return {
      ...{ name, rule: rival?.rule ?? "copy", bits: rival?.bits ?? 32 },
      ...{ time: spreadOf(samples[index]!), toOurs: ratioOf(samples[index]!, samples[0]!) },
      samples: samples[index]!,
    };
  });
  const versions = [...new Set(found.map(({ version }) => version))];
  return { problem: problem.name, size: problem.size, threads, versions, missing, checks, rows };
}

/** A peer as the judge and the clock see it; its bursts are timed on its own side. */
function peerRival(
  { name, rule, bits }: PeerFound,
  python: PythonPeers,
  problem: Problem,
  out: string,
  threads: number,
): Rival & Pick<Contender, "burst"> {
  let steps = 0;
  return {
    ...{ name, rule, bits, threads },
    ...(rule === "none" || bits === 8 ? {} : { tolerance: float32SumsTolerance(problem) }),
    reset: () => {
      steps = 0;
    },
    step: async () => {
      // What is checked begins afresh on the other side, and goes all the way there.
      if (++steps === CHECKED_STEPS) await python.check(name, CHECKED_STEPS, out);
    },
    weights: () => split(readFileSync(out), problem),
    burst: (count) => python.step(name, count),
  };
}

function joined(arrays: readonly Float32Array[]): Buffer {
  return Buffer.concat(
    arrays.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)),
  );
}

function split(bytes: Buffer, { weights }: Problem): Float32Array[] {
  const all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  let start = 0;
  return weights.map(({ length }) => all.subarray(start, (start += length)));
}
