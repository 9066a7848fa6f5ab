/**
 * Random programs over the library's public calls, beside plain objects that say what each call should do. A run ends
 * at the first thing that a program can see and that differs: weights, gradients, state, options, reports, errors.
 *
 * fast-check prints seed, path and `replayPath` of a failure; `FC_SEED=… npx vitest` draws other programs.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as checkpoint from "../../src/checkpoint.js";
import * as layerwise from "../../src/index.js";
import { createDynamicMap } from "../../src/quantization.js";
import { runs } from "../helpers/arbitraries.js";
import { watchArenas } from "../helpers/arenas.js";
import { CODES } from "./model/codes.js";
import { shownCommand } from "./model/command.js";
import type { Command } from "./model/command.js";
import { weighted } from "./model/draw.js";
import { canRun, disposeAll, execute } from "./model/execute.js";
import { emptyReal } from "./model/real.js";
import type { Real } from "./model/real.js";
import { demandSameSave } from "./model/verify.js";
import { emptyWorld } from "./model/world.js";
import type { World } from "./model/world.js";
import { stateOf } from "./model/execute.js";

const RUNS = 1000;
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

/** Each kind as often as its weight says. */
const programs = fc.commands(
  weighted.flatMap(({ arbitrary, weight }) =>
    Array.from({ length: weight }, () => arbitrary.map((command) => new ModelCommand(command))),
  ),
  { maxCommands: 40, size: "max" },
);

/** One of each size that programs draw, so that areas that only grow have grown. */
function growWorkspaces(kernel: Real["kernel"]): void {
  const world = emptyWorld();
  const real = emptyReal(library, kernel);
  const values = { seed: 1, scale: 1, zeros: 0 };
  const run = (command: Command): void => {
    execute(command, world, real);
  };
  for (let index = 0; index < 5; index++) {
    run({ kind: "allocate", size: 40_000, isNamed: true, values });
    run({ kind: "wrap", origin: "plain", size: 39_999, isNamed: true, values });
  }
  for (const optimBits of [8, 32] as const) {
    const options = { ...defaults, optimBits };
    const picks = Array.from({ length: 10 }, (_, index) => index);
    run({ kind: "construct", className: "LARS", picks, options, isTwice: false, second: null });
    for (let index = 0; index < 2; index++) {
      run({ kind: "step", optimizer: optimBits === 8 ? 0 : 1, values, gradScale: 1 });
    }
  }
  disposeAll(world, real);
}

const defaults = {
  ...{ lr: 0.1, momentum: 0.9, dampening: 0, weightDecay: 1e-4, nesterov: false },
  ...{ optimBits: 32 as const, min8bitSize: 4096, percentileClipping: 100, maxGradNorm: null },
  ...{ skipZeros: false, nonFinite: "throw" as const },
  trustRatio: { rule: "clip-update" as const, maxUnorm: 0.02, whenZero: "unit" as const },
};

describe("the model's codes", () => {
  it("are the library's, to 3e-7 (its values are made by four float32 operations)", () => {
    const codebook = createDynamicMap();
    CODES.forEach((value, code) => {
      expect(Math.abs(codebook[code]! - value)).toBeLessThanOrEqual(3e-7 * Math.abs(value));
    });
  });
});

describe.each(["wasm", "reference"] as const)("%s kernel", (name) => {
  const kernel = { kernel: name, threads: 1 };
  const arenas = watchArenas();
  beforeAll(() => {
    arenas.start();
  });
  afterAll(() => {
    arenas.stop();
  });

  it(`${RUNS} random programs do what plain objects do, and leave no byte behind`, () => {
    growWorkspaces(kernel);
    const used = arenas.used();
    fc.assert(
      fc.property(programs, (commands) => {
        const world = emptyWorld();
        const real = emptyReal(library, kernel);
        try {
          fc.modelRun(() => ({ model: world, real }), commands);
          world.saves.forEach((save, index) => {
            demandSameSave(stateOf(real, index), save, `save ${index}`);
          });
        } finally {
          disposeAll(world, real);
        }
        expect(arenas.used()).toBeLessThanOrEqual(used);
      }),
      runs(RUNS),
    );
  });
});
