/**
 * Fault injection, as SQLite does it: the same program once for each allocation that it makes, with that one failing.
 * A call whose allocation fails either does without, with the same bits, or throws and has changed nothing. The program
 * then goes on, and at its end no byte is allocated that would not be without the failure.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { StateDict } from "../../src/index.js";
import { watchArenas } from "../helpers/arenas.js";
import { Injector } from "./faults/injector.js";
import type { Extent, Kind } from "./faults/injector.js";
import { disposals, nothing, workload } from "./faults/workload.js";
import type { Call, Holdings, Library } from "./faults/workload.js";
import { Mismatch, demand, demandSame } from "./model/verify.js";

const TIMEOUT_MS = 400_000;

/** Everything that the program can see, copied. */
interface Snapshot {
  params: Map<string, { data: Float32Array; grad: Float32Array | null }>;
  states: Map<string, StateDict>;
}

function snapshotOf({ params, optimizers }: Holdings): Snapshot {
  return {
    params: new Map(
      [...params].map(([name, { data, grad }]) => [
        name,
        { data: Float32Array.from(data), grad: grad === null ? null : Float32Array.from(grad) },
      ]),
    ),
    states: new Map([...optimizers].map(([name, optimizer]) => [name, optimizer.stateDict()])),
  };
}

/** @throws Mismatch that says what differs */
function demandSnapshot({ params, optimizers }: Holdings, expected: Snapshot): void {
  const names = (map: Map<string, unknown>): string => [...map.keys()].join();
  demand(names(params) === names(expected.params), () => `parameters: ${names(params)}`);
  demand(names(optimizers) === names(expected.states), () => `optimizers: ${names(optimizers)}`);
  for (const [name, { data, grad }] of params) {
    const wanted = expected.params.get(name)!;
    demandSame(data, wanted.data, `${name}: weights`);
    demand((grad === null) === (wanted.grad === null), () => `${name}: grad`);
    if (grad !== null && wanted.grad !== null) demandSame(grad, wanted.grad, `${name}: gradient`);
  }
  for (const [name, optimizer] of optimizers) {
    demandState(optimizer.stateDict(), expected.states.get(name)!, name);
  }
}

function demandState(actual: StateDict, expected: StateDict, what: string): void {
  demand(actual.step === expected.step, () => `${what}: step ${actual.step}`);
  actual.layers.forEach((layer, index) => {
    const wanted = expected.layers[index]!;
    const label = `${what}, ${String(layer.name)}`;
    demand(layer.step === wanted.step, () => `${label}: step ${layer.step}`);
    demand(layer.momentum?.kind === wanted.momentum?.kind, () => `${label}: kind of momentum`);
    if (layer.momentum?.kind === "float32" && wanted.momentum?.kind === "float32") {
      demandSame(layer.momentum.values, wanted.momentum.values, `${label}: momentum`);
    }
    if (layer.momentum?.kind === "blockwise" && wanted.momentum?.kind === "blockwise") {
      demandSame(layer.momentum.codes, wanted.momentum.codes, `${label}: codes`);
      demandSame(layer.momentum.absmax, wanted.momentum.absmax, `${label}: absmax`);
    }
    const [history, wantedHistory] = [layer.gradientHistory, wanted.gradientHistory];
    demand((history === null) === (wantedHistory === null), () => `${label}: history`);
    if (history !== null && wantedHistory !== null) demandSame(history, wantedHistory, label);
  });
}

/** A copy of the library that has done nothing yet, with its allocations watched. */
interface Fresh {
  library: Library;
  injector: Injector;
  used: () => number;
}

/** Without a flag for the whole test run. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    collect();
  }
}

let cleanUp: () => void = () => undefined;
afterEach(() => {
  cleanUp();
});

async function fresh(): Promise<Fresh> {
  cleanUp();
  vi.resetModules();
  const library = {
    ...(await import("../../src/index.js")),
    ...(await import("../../src/checkpoint.js")),
  };
  const { Arena } = await import("../../src/kernels/wasm/memory/arena.js");
  const arenas = watchArenas(Arena);
  const injector = new Injector();
  arenas.start();
  injector.install(Arena);
  cleanUp = () => {
    injector.uninstall();
    arenas.stop();
    cleanUp = () => undefined;
  };
  return { library, injector, used: () => arenas.used() };
}

function runCall({ prepare, run }: Call, holdings: Holdings, injector: Injector): void {
  prepare?.(holdings);
  injector.during(() => {
    run(holdings);
  });
}

/** What the world should be before a call and after it; the caller's own preparations come first. */
interface Golden {
  call: Call;
  before: Snapshot;
  after: Snapshot;
}

/** Runs the program without a failure. */
function recorded(holdings: Holdings, injector: Injector): Golden[] {
  return workload.map((call) => {
    call.prepare?.(holdings);
    const before = snapshotOf(holdings);
    injector.during(() => {
      call.run(holdings);
    });
    return { call, before, after: snapshotOf(holdings) };
  });
}

/** Whether WebAssembly could not start, so that steps have the bits of the other kernel. */
function isOnReference({ optimizers }: Holdings): boolean {
  return [...optimizers.values()].some(({ kernel }) => kernel === "reference");
}

/** Runs the program with a failure in it. @throws Mismatch */
function checked({ golden, goldenReference }: Usual, holdings: Holdings, injector: Injector): void {
  for (const [index, { call }] of golden.entries()) {
    const expected = (): Golden => (isOnReference(holdings) ? goldenReference : golden)[index]!;
    const { before } = expected();
    const had = injector.hasFailed;
    let thrown: unknown = null;
    try {
      runCall(call, holdings, injector);
    } catch (error) {
      thrown = error;
    }
    const isHere = injector.hasFailed && !had;
    demand(thrown === null || isHere, () => `${call.name}: threw later on: ${String(thrown)}`);
    if (thrown !== null) {
      demand(thrown instanceof Error, () => `${call.name}: threw what is no Error`);
      const difference = differenceFrom(holdings, before);
      if (difference !== null && differenceFrom(holdings, expected().after) === null) continue;
      demand(difference === null, () => {
        return `${call.name}: threw (${String(thrown)}) and left something behind: ${String(difference)}`;
      });
      // There is room again: the same call does what it should.
      try {
        call.run(holdings);
      } catch (error) {
        demand(false, () => `${call.name}, once more: ${String(error)}`);
      }
    }
    if (injector.hasFailed) {
      const difference = differenceFrom(holdings, expected().after);
      demand(difference === null, () => `after ${call.name}: ${String(difference)}`);
    }
  }
}

/** What differs from a snapshot, or null. */
function differenceFrom(holdings: Holdings, snapshot: Snapshot): string | null {
  try {
    demandSnapshot(holdings, snapshot);
    return null;
  } catch (error) {
    if (error instanceof Mismatch) return error.message;
    throw error;
  }
}

/** Gives everything back, with a failure in it if it has not come yet. */
function disposeAll(holdings: Holdings, injector: Injector): void {
  for (const call of disposals) runCall(call, holdings, injector);
}

interface Usual {
  golden: Golden[];
  /** The same by the kernel "reference", which rounds differently. */
  goldenReference: Golden[];
  /** The kind of each allocation. */
  points: Kind[];
  /** What is allocated when the program has run once, twice, three times. */
  used: [number, number, number];
}

/** The program as it should be. */
async function usualRun(): Promise<Usual> {
  const { library, injector, used } = await fresh();
  const holdings = nothing(library);
  const golden = recorded(holdings, injector);
  disposeAll(holdings, injector);
  const points = [...injector.points];
  const runOnceMore = (): number => {
    runPlainly(holdings, injector);
    return used();
  };
  const usedBytes: Usual["used"] = [used(), runOnceMore(), runOnceMore()];
  const other = await fresh();
  const goldenReference = recorded(nothing(other.library, "reference"), other.injector);
  return { golden, goldenReference, points, used: usedBytes };
}

/** The program, without a look at what it does. */
function runPlainly(holdings: Holdings, injector: Injector): void {
  for (const call of [...workload, ...disposals]) runCall(call, holdings, injector);
}

/** What goes wrong when one allocation fails, or null. */
async function wrongAt(point: number, extent: Extent, expected: Usual): Promise<string | null> {
  const [, usual] = expected.used;
  const { library, injector, used } = await fresh();
  const holdings = nothing(library);
  injector.failAt(point, extent);
  try {
    checked(expected, holdings, injector);
    disposeAll(holdings, injector);
    demand(injector.hasFailed, () => "nothing failed");
    // Once more without a failure: memory that only grows has then grown as it does without one.
    runPlainly(holdings, injector);
    // Memory that the library has dropped is no leak: it is the garbage collector's.
    if (used() > usual) await collectGarbage();
    demand(used() <= usual, () => `${used()} bytes stay allocated, ${usual} without a failure`);
    return null;
  } catch (error) {
    return String(error);
  }
}

describe("a program that allocates", { timeout: TIMEOUT_MS }, () => {
  it("leaves as many bytes allocated when it has run three times as when it has run twice", async () => {
    const { used } = await usualRun();
    expect(used[2]).toBe(used[1]);
  });

  it.each(["once", "rest of the call"] as const)(
    "with each allocation failing (%s): before or after, nothing in between, nothing left behind",
    async (extent) => {
      const usual = await usualRun();
      const kinds: Kind[] = ["array", "growth", "in the kernels' memory", "memory", "worker"];
      expect([...new Set(usual.points)].sort()).toEqual(kinds);
      const wrong: string[] = [];
      for (const [point, kind] of usual.points.entries()) {
        // Memory is what stays full; of the others, one that fails is all there is.
        if (extent === "rest of the call" && ["array", "worker"].includes(kind)) continue;
        const what = await wrongAt(point, extent, usual);
        if (what !== null)
          wrong.push(`point ${point} of ${usual.points.length} (${kind}): ${what}`);
      }
      expect(wrong.length, wrong.join("\n")).toBe(0);
    },
  );
});
