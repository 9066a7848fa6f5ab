/** The rate search: what it tries, what it chooses, and that it costs less than the run. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { heldOutRows } from "../src/data/held-out.js";
import { readIdxFolder } from "../src/data/idx.js";
import { readMetrics } from "../src/metrics.js";
import type { EpochMetrics } from "../src/metrics.js";
import { RULES } from "../src/optimizers/names.js";
import type { OptimizerName } from "../src/optimizers/names.js";
import type { Setting } from "../src/optimizers/options.js";
import { checkOptions } from "../src/options.js";
import type { RawOptions } from "../src/options.js";
import { makePlan } from "../src/plan.js";
import type { TrainingPlan } from "../src/plan.js";
import { ladderOf } from "../src/search/ladder.js";
import type { Question } from "../src/search/ladder.js";
import { TRIAL_PARTS, searchSetting } from "../src/search/rate-search.js";
import type { RunTrials, Trial } from "../src/search/rate-search.js";
import { settingSource } from "../src/search/settings.js";
import { trialPlan } from "../src/search/trial-plan.js";
import { runCli, startCli, until } from "./helpers/cli.js";
import { csvText, idxFiles, temporaryFolder, writeFiles } from "./helpers/data.js";
import { withoutTimes } from "./helpers/folders.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);
const step = checkOptions({});

function question(given: Partial<Question> = {}): Question {
  return { optimizer: "sgd", step, lr: null, maxGradNorm: "off", ...given };
}

/** Trials of a made-up optimizer: accuracy falls with the distance from a best rate, up to a cliff. */
function landscape(
  accuracyOf: (setting: Setting, rung: number) => number | null,
  tried: Setting[] = [],
): RunTrials {
  return (settings, rung) => {
    tried.push(...settings);
    return Promise.resolve(
      settings.map((setting): Trial => {
        const accuracy = accuracyOf(setting, rung);
        const loss = accuracy === null ? null : 1 - accuracy;
        return { ...setting, rung, batchSize: 1, steps: 1, loss, accuracy };
      }),
    );
  };
}

const HELD_OUT = 5000;

describe("what is chosen", () => {
  test("the best rate to √2, wherever it lies within 4 orders of magnitude of the usual", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...RULES),
        fc.double({ min: 0, max: 1, noNaN: true }),
        async (optimizer, place) => {
          const ladder = ladderOf(question({ optimizer }));
          const rates = ladder.places.map((own) => ladder.setting(own).lr);
          const low = Math.log2(Math.min(...rates)) - 2;
          const high = Math.log2(Math.max(...rates)) + 2;
          const best = low + place * (high - low);
          const found = await searchSetting(
            ladder,
            HELD_OUT,
            landscape(({ lr }) => Math.max(0, 0.95 - 0.05 * Math.abs(Math.log2(lr) - best))),
          );
          const distance = Math.abs(Math.log2(found!.chosen.lr) - best);
          // Half a place, and the two digits of a rate.
          expect(distance).toBeLessThan(0.3);
        },
      ),
    );
  });

  test("beyond what the ladder may be extended by, the end of it, which is said", async () => {
    const found = await searchSetting(
      ladderOf(question()),
      HELD_OUT,
      landscape(({ lr }) => lr / 1e6),
    );
    expect(found!.atEdge).toBe(true);
    const highest = Math.max(...found!.trials.map(({ lr }) => lr));
    expect(found!.chosen.lr).toBe(highest);
    expect(highest).toBeGreaterThan(16);
  });

  test("a rate next to one that diverges gives way to one that is as good", async () => {
    const cliff = landscape(({ lr }) => (lr > 0.3 ? null : 0.9));
    const found = await searchSetting(ladderOf(question()), HELD_OUT, cliff);
    expect(found!.chosen.lr).toBeLessThan(0.21);
    expect(found!.atEdge).toBe(false);
  });

  test("rate and limit together: SGD's product of both, to a factor of 2", async () => {
    const ladder = ladderOf(question({ optimizer: "sgd-nesterov+clip", maxGradNorm: null }));
    const product = landscape(({ lr, maxGradNorm }) =>
      Math.max(0, 0.95 - 0.05 * Math.abs(Math.log2((lr * maxGradNorm!) / 0.4))),
    );
    const { lr, maxGradNorm } = (await searchSetting(ladder, HELD_OUT, product))!.chosen;
    expect(Math.abs(Math.log2((lr * maxGradNorm!) / 0.4))).toBeLessThan(1);
  });

  test("where the rate is given, only the limit", async () => {
    const ladder = ladderOf(question({ lr: 0.7, maxGradNorm: null }));
    const found = await searchSetting(
      ladder,
      HELD_OUT,
      landscape(({ maxGradNorm }) => 0.9 - 0.05 * Math.abs(Math.log2(maxGradNorm! / 0.5))),
    );
    expect(found!.chosen.lr).toBe(0.7);
    expect(Math.abs(Math.log2(found!.chosen.maxGradNorm! / 0.5))).toBeLessThan(0.3);
  });

  test("nothing, when every trial diverges, after lower rates were tried", async () => {
    const tried: Setting[] = [];
    expect(
      await searchSetting(
        ladderOf(question()),
        HELD_OUT,
        landscape(() => null, tried),
      ),
    ).toBeNull();
    expect(Math.min(...tried.map(({ lr }) => lr))).toBeLessThan(0.002);
  });

  test("few held-out samples: accuracies alike are told apart by loss", async () => {
    const run: RunTrials = (settings, rung) =>
      Promise.resolve(
        settings.map((setting) => ({
          ...{ ...setting, rung, batchSize: 1, steps: 1, accuracy: 0.9 },
          loss: 0.1 + Math.abs(Math.log2(setting.lr / 0.09)),
        })),
      );
    const found = await searchSetting(ladderOf(question()), 64, run);
    expect(Math.abs(Math.log2(found!.chosen.lr / 0.09))).toBeLessThan(0.3);
  });
});

describe("what it costs", () => {
  test("every optimizer has as many trials, with a limit or without", () => {
    const counts = RULES.flatMap((optimizer) =>
      (["off", null, 0.5] as const).map(
        (maxGradNorm) => ladderOf(question({ optimizer, maxGradNorm })).places.length,
      ),
    );
    expect(new Set(counts)).toEqual(new Set([9]));
  });

  test("trials have the steps of the run where thin batches allow it, and never more samples than their part", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 20, max: 60_000 }),
        fc.integer({ min: 1, max: 60_000 }),
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 0, max: 2 }),
        (samples, batch, epochs, rung) => {
          const batchSize = Math.min(batch, samples);
          const stepsPerEpoch = Math.ceil(samples / batchSize);
          const plan = { batchSize, epochs, stepsPerEpoch, warmupSteps: 0 } as TrainingPlan;
          const part = TRIAL_PARTS[rung]!;
          const short = trialPlan(plan, { samples: Math.floor(0.9 * samples), part });
          const steps = short.epochs * short.stepsPerEpoch;
          expect(steps).toBeGreaterThan(0);
          expect(short.batchSize).toBeLessThanOrEqual(batchSize);
          const work = epochs * stepsPerEpoch * batchSize * part;
          // A single step of the thinnest batch is the least that can be tried.
          expect(steps * short.batchSize).toBeLessThanOrEqual(Math.max(work, short.batchSize));
        },
      ),
    );
    const large = {
      batchSize: 32_768,
      epochs: 10,
      stepsPerEpoch: 2,
      warmupSteps: 4,
    } as TrainingPlan;
    expect(trialPlan(large, { samples: 55_000, part: 1 / 50 })).toMatchObject({
      ...{ batchSize: 655, epochs: 1, stepsPerEpoch: 20, warmupSteps: 4 },
    });
  });

  test("all rungs and extensions together are less than the run", () => {
    const [first, second, third] = TRIAL_PARTS;
    expect((9 + 3) * first + 4 * second + (3 + 2) * third).toBeLessThan(0.8);
  });

  test("held-out rows are of the training set, apart from the others, and by the seed", () => {
    const { training, heldOut } = heldOutRows(1000, 1);
    expect(heldOut).toHaveLength(200);
    expect([...training, ...heldOut].sort((a, b) => a - b)).toEqual(
      Array.from({ length: 1000 }, (_, row) => row),
    );
    expect(heldOutRows(1000, 1).heldOut).toEqual(heldOut);
    expect(heldOutRows(1000, 2).heldOut).not.toEqual(heldOut);
    expect(heldOutRows(60_000, 1).heldOut).toHaveLength(5000);
  });
});

describe("the command", () => {
  writeFiles(temporary.path, { "points.csv": csvText() });
  const options = [
    ...["--data", join(temporary.path, "points.csv"), "--label", "kind", "--hidden", "8"],
    ...["--epochs", "6", "--optimizer", "lars8bit,sgd+clip"],
  ];
  const searchOf = (out: string): { searches: { trials: Trial[]; chosen: Setting }[] } =>
    JSON.parse(readFileSync(join(out, "search.json"), "utf8")) as never;

  test("finds rates, says so, and gives the same ones on any number of threads and after a kill", async () => {
    const [whole, killed] = ["whole", "killed"].map((name) => join(temporary.path, name));
    const outcome = await runCli([...options, "--workers", "2", "--out", whole!]);
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(outcome.stdout).toContain(
      "rates, searched on held-out training samples: lars8bit, sgd+clip",
    );
    expect(outcome.stdout).toMatch(/lars8bit: rate [\d.]+, by held-out accuracy of short runs/);
    expect(outcome.stdout).toMatch(
      /sgd\+clip: rate [\d.]+ clipped at [\d.]+, by held-out accuracy/,
    );
    const config = JSON.parse(readFileSync(join(whole!, "config.json"), "utf8")) as {
      settings: Record<string, Setting>;
      searches: { chosen: Setting; compared: Setting[] }[];
    };
    for (const { chosen, compared } of config.searches) {
      expect(compared.map(({ lr }) => lr)).toContain(chosen.lr);
      expect(compared.length).toBeGreaterThanOrEqual(3);
    }
    expect(Object.values(config.settings)).toEqual(
      searchOf(whole!).searches.map(({ chosen }) => chosen),
    );

    const { child, outcome: end } = startCli([...options, "--workers", "1", "--out", killed!]);
    const trials = (): number => {
      try {
        return searchOf(killed!).searches.flatMap((search) => search.trials).length;
      } catch {
        return 0;
      }
    };
    await until(() => trials() >= 20 || child.exitCode !== null);
    child.kill("SIGKILL");
    expect((await end).signal).toBe("SIGKILL");
    expect(await runCli(["--resume", killed!])).toMatchObject({ code: 0, stderr: "" });
    expect(withoutTimes(searchOf(killed!))).toEqual(withoutTimes(searchOf(whole!)));
  });

  test("a damaged search.json is refused by name", async () => {
    const out = join(temporary.path, "whole");
    writeFiles(out, {
      "search.json": '{"format": "layerwise-train.search", "version": 1, "searches": [{}]}',
    });
    const { code, stderr } = await runCli(["--resume", out]);
    expect({ code, stderr }).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("search.json: optimizer: expected"),
    });
  });

  test("--hold-out trains on 96 of 120 samples and scores the other 24, not the 30 of the test set", async () => {
    const out = join(temporary.path, "hold-out");
    const more = ["--lr", "0.1", "--max-grad-norm", "1", "--batch-size", "96", "--hold-out"];
    const { stdout } = await runCli([...options, ...more, "--out", out]);
    expect(stdout).toMatch(/held-out accuracy \d/);
    expect(stdout).not.toContain("test accuracy");
    const epochs = [...readMetrics(join(out, "metrics.jsonl"))].filter(
      ({ kind }) => kind === "epoch",
    );
    expect(epochs).toHaveLength(12);
    for (const line of epochs as EpochMetrics[]) {
      // One step an epoch: none is left over.
      expect(line.step).toBe(line.epoch);
      expect(Math.abs(line.testAccuracy * 24 - Math.round(line.testAccuracy * 24))).toBeLessThan(
        1e-9,
      );
      expect(Math.abs(line.trainAccuracy * 96 - Math.round(line.trainAccuracy * 96))).toBeLessThan(
        1e-9,
      );
    }
  });
});

describe("where settings come from", () => {
  const dataset = readIdxFolder(writeFiles(join(temporary.path, "images"), idxFiles()), "test");
  const kindOf = (raw: RawOptions, name: OptimizerName = "lars8bit"): string =>
    settingSource(
      makePlan(checkOptions({ optimizer: name, batchSize: 200, ...raw }), dataset),
      name,
    ).kind;
  /** The documented setting but for the data, which the plan names only. */
  const documented = (raw: RawOptions): string => {
    const plan = makePlan(checkOptions({ epochs: 10, ...raw, batchSize: 200 }), dataset);
    const options = { ...plan.options, batchSize: 8192, ...raw } as typeof plan.options;
    return settingSource({ ...plan, options }, "lars8bit").kind;
  };

  test("the documented setting has documented rates; whatever differs is searched", () => {
    expect(documented({})).toBe("documented");
    for (const other of [
      { hidden: [300] },
      { model: "lenet" },
      { data: "elsewhere" },
      { batchSize: 4096 },
      { epochs: 9 },
      { warmupEpochs: 1 },
      { schedule: "cosine" },
      { init: "torch" },
      { lr: "auto" },
      { maxGradNorm: "auto" },
      { momentum: 0.8 },
      { nesterov: true },
      { weightDecay: 0 },
      { maxUnorm: 0.1 },
      { trustCoefficient: 0.1 },
      { preset: "timm" },
      { percentileClipping: 50 },
    ]) {
      expect({ other, kind: documented(other) }).toEqual({ other, kind: "searched" });
    }
  });

  test("what is given is taken, and only the rest is searched", () => {
    expect(kindOf({ lr: 0.5 })).toBe("given");
    expect(kindOf({ lr: 0.5, maxGradNorm: 1 }, "sgd+clip")).toBe("given");
    expect(kindOf({ lr: 0.5 }, "sgd+clip")).toBe("searched");
    expect(kindOf({ lr: 0.5, maxGradNorm: "auto" })).toBe("searched");
    expect(kindOf({})).toBe("searched");
  });
});
