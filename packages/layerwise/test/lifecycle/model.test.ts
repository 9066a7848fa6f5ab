/**
 * Random programs over the library's public calls, beside plain objects that say what each call should do. A run ends
 * at the first thing that a program can see and that differs: weights, gradients, state, options, reports, errors.
 *
 * fast-check prints seed, path and `replayPath` of a failure; `FC_SEED=… npx vitest` draws other programs. Tolerances
 * are those of expected-step.ts and codes.ts; whatever a command is not for is compared to the bit.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import * as checkpoint from "../../src/checkpoint.js";
import * as layerwise from "../../src/index.js";
import { createDynamicMap } from "../../src/quantization.js";
import { runs } from "../helpers/arbitraries.js";
import { watchArenas } from "../helpers/arenas.js";
import { CODES } from "./model/codes.js";
import { shownCommand } from "./model/command.js";
import type { Command } from "./model/command.js";
import { oneOf, weighted } from "./model/draw.js";
import { canRun, disposeAll, execute } from "./model/execute.js";
import { emptyReal } from "./model/real.js";
import type { Real } from "./model/real.js";
import { stateOf } from "./model/saves.js";
import { demandSameSave } from "./model/verify.js";
import { defaultOptions, emptyWorld } from "./model/world.js";
import type { World } from "./model/world.js";

/** On each kernel; `MODEL_RUNS=… npx vitest` makes more. */
const RUNS = Number(process.env.MODEL_RUNS ?? 500);
const TIMEOUT_MS = 240_000;
const library = { ...layerwise, ...checkpoint };

/** A command as fast-check runs it. */
class ModelCommand implements fc.Command<World, Real> {
  readonly #command: Command;

  constructor(command: Command) {
    this.#command = command;
  }

  check(world: Readonly<World>): boolean {
    return canRun(this.#command, world);
  }

  run(world: World, real: Real): void {
    execute(this.#command, world, real);
  }

  toString(): string {
    return shownCommand(this.#command);
  }
}

/** What a program begins with: layers, and an optimizer. */
const beginning = fc
  .tuple(fc.array(oneOf("allocate", "wrap"), { minLength: 1, maxLength: 4 }), oneOf("construct"))
  .map(([layers, optimizer]) => [...layers, optimizer].map((command) => new ModelCommand(command)));

/** What it goes on with: each kind as often as its weight says. */
const continuation = fc.commands(
  weighted.flatMap(({ arbitrary, weight }) =>
    Array.from({ length: weight }, () => arbitrary.map((command) => new ModelCommand(command))),
  ),
  { maxCommands: 50, size: "max" },
);

/**
 * Steps over as many layers as programs have, and over more elements: inside and outside of the kernels' memory, and
 * partly inside. Areas that only grow are then as large as they will be.
 */
function growWorkspaces(real: Real): void {
  const world = emptyWorld();
  const values = { seed: 1, scale: 1, zeros: 0 };
  const run = (command: Command): void => {
    execute(command, world, real);
  };
  for (let index = 0; index < 10; index++) {
    if (index % 3 === 0) {
      run({ kind: "wrap", origin: "plain", size: 39_000, isNamed: true, values });
    } else {
      run({ kind: "allocate", size: 39_000, isNamed: true, values });
    }
    if (index % 3 === 1) run({ kind: "setGradient", pick: index, way: "own", values });
  }
  const picks = world.parameters.map((_, index) => index);
  for (const [optimizer, optimBits] of [8, 32].entries()) {
    const options = { ...defaultOptions, momentum: 0.9, optimBits: optimBits as 8 | 32 };
    run({ kind: "construct", className: "LARS", picks, options, isTwice: false, second: null });
    for (let index = 0; index < 2; index++) {
      run({ kind: "step", optimizer, values: { ...values, seed: 7 * index + 1 }, gradScale: 1 });
    }
  }
  disposeAll(world, real);
}

/** Runs a program to its end, and gives back all that it has. */
function runProgram(
  first: Iterable<fc.Command<World, Real>>,
  then: Iterable<fc.Command<World, Real>>,
  real: Real,
): void {
  const world = emptyWorld();
  try {
    fc.modelRun(() => ({ model: world, real }), first);
    fc.modelRun(() => ({ model: world, real }), then);
    world.saves.forEach((save, index) => {
      demandSameSave(stateOf(real, index), save, `save ${index}`);
    });
  } finally {
    disposeAll(world, real);
  }
}

describe("the model's codes", () => {
  it("are the library's, to 3e-7 (its values are made by four float32 operations)", () => {
    const codebook = createDynamicMap();
    CODES.forEach((value, code) => {
      expect(Math.abs(codebook[code]! - value)).toBeLessThanOrEqual(3e-7 * Math.abs(value));
    });
  });
});

describe.each(["wasm", "reference"] as const)("%s kernel", { timeout: TIMEOUT_MS }, (name) => {
  const kernel = { kernel: name, threads: 1 };
  const arenas = watchArenas();
  beforeAll(() => {
    arenas.start();
  });
  afterAll(() => {
    arenas.stop();
  });

  it(`${RUNS} random programs do what plain objects do, and leave no byte behind`, () => {
    growWorkspaces(emptyReal(library, kernel));
    fc.assert(
      fc.property(beginning, continuation, (first, then) => {
        const before = arenas.used();
        runProgram(first, then, emptyReal(library, kernel));
        expect(arenas.used()).toBeLessThanOrEqual(before);
      }),
      runs(RUNS),
    );
  });
});

describe("wasm kernel", { timeout: TIMEOUT_MS }, () => {
  it("100 random programs on 3 threads do what plain objects do", () => {
    const kernel = { kernel: "wasm", threads: 3 } as const;
    fc.assert(
      fc.property(beginning, continuation, (first, then) => {
        runProgram(first, then, emptyReal(library, kernel));
      }),
      { ...runs(100), seed: 7 },
    );
  });

  it("100 random programs, each with a copy of the library that has done nothing yet", async () => {
    const kernel = { kernel: "wasm", threads: 1 } as const;
    await fc.assert(
      fc.asyncProperty(beginning, continuation, async (first, then) => {
        vi.resetModules();
        const copy = {
          ...(await import("../../src/index.js")),
          ...(await import("../../src/checkpoint.js")),
        };
        runProgram(first, then, emptyReal(copy, kernel));
      }),
      { ...runs(100), seed: 11 },
    );
  });
});
