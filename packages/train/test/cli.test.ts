/** The command line as users run it: what it trains and writes, and its exit codes. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeCheckpoint } from "layerwise/checkpoint";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readMetrics } from "../src/metrics.js";
import type { EpochMetrics, StepMetrics } from "../src/metrics.js";
import { runCli } from "./helpers/cli.js";
import type { Outcome } from "./helpers/cli.js";
import { csvText, idxFiles, temporaryFolder, writeFiles } from "./helpers/data.js";

const temporary = temporaryFolder();
const images = writeFiles(join(temporary.path, "images"), idxFiles());
writeFiles(temporary.path, { "points.csv": csvText() });
const table = join(temporary.path, "points.csv");
afterAll(temporary.remove);

const inTemporary = (name: string): string => join(temporary.path, name);
const small = ["--data", images, "--hidden", "32", "--batch-size", "64", "--micro-batch", "32"];

describe("a run that compares two optimizers", () => {
  const out = inTemporary("compared");
  let outcome: Outcome;
  beforeAll(async () => {
    const options = ["--optimizer", "lars8bit,sgd", "--epochs", "4", "--lr", "1", "--out", out];
    outcome = await runCli([...small, ...options]);
  });

  test("ends well, with a line an epoch and the accuracy in the last of each optimizer", () => {
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    const lines = outcome.stdout.trim().split("\n");
    for (const name of ["lars8bit", "sgd"]) {
      const own = lines.filter((line) => line.startsWith(name));
      expect(own[0]).toMatch(
        /epoch 1\/4 {2}loss [\d.]+ {2}accuracy .* samples\/s {2}\d+:\d\d left/,
      );
      expect(own.at(-1)).toMatch(/test accuracy \d+\.\d\d %$/);
    }
  });

  test("writes config, metrics, a checkpoint for each optimizer, and the report; nothing else", () => {
    expect(readdirSync(out).sort()).toEqual([
      "checkpoints",
      "config.json",
      "metrics.jsonl",
      "report.html",
    ]);
    expect(readdirSync(join(out, "checkpoints")).sort()).toEqual([
      "lars8bit.safetensors",
      "sgd.safetensors",
    ]);
    const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as unknown;
    expect(config).toMatchObject({
      format: "layerwise-train.run",
      options: { optimizer: ["lars8bit", "sgd"], batchSize: 64, epochs: 4, seed: 1 },
      settings: { lars8bit: { lr: 1, maxGradNorm: null }, sgd: { lr: 1, maxGradNorm: null } },
      model: { featureShape: [12, 12], classes: 4, hidden: [32] },
    });
  });

  test("metrics have every step with its layers, and every epoch; the loss falls", () => {
    const metrics = [...readMetrics(join(out, "metrics.jsonl"))];
    for (const name of ["lars8bit", "sgd"]) {
      const own = metrics.filter(({ optimizer }) => optimizer === name);
      const steps = own.filter((line): line is StepMetrics => line.kind === "step");
      const epochs = own.filter((line): line is EpochMetrics => line.kind === "epoch");
      // 240 samples in batches of 64: three whole ones and one of 48.
      expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
      expect(epochs.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4]);
      expect(steps[0]!.layers.map((layer) => layer.name)).toEqual([
        "dense1/kernel",
        "dense2/kernel",
        "dense1/bias",
        "dense2/bias",
      ]);
      expect(epochs.at(-1)!.trainLoss).toBeLessThan(epochs[0]!.trainLoss / 2);
      expect(epochs.at(-1)!.testAccuracy).toBeGreaterThan(0.9);
    }
  });

  test("the loss of an epoch is the mean over its samples, also those of the smaller batch", () => {
    const metrics = [...readMetrics(join(out, "metrics.jsonl"))];
    const steps = metrics.filter((line): line is StepMetrics => line.kind === "step").slice(0, 4);
    const epoch = metrics.find((line): line is EpochMetrics => line.kind === "epoch")!;
    const sizes = [64, 64, 64, 48];
    const sum = steps.reduce((total, { loss }, index) => total + loss * sizes[index]!, 0);
    expect(epoch.trainLoss).toBeCloseTo(sum / 240, 12);
  });

  test("a checkpoint has the weights and, with 8 bits, codes", () => {
    const file = join(out, "checkpoints", "lars8bit.safetensors");
    const { tensors, layers, metadata } = decodeCheckpoint(readFileSync(file));
    expect(tensors!["dense1/kernel"]!.shape).toEqual([144, 32]);
    const kernel = layers.find(({ name }) => name === "dense1/kernel")!;
    expect(kernel.momentum!.kind).toBe("blockwise");
    expect(metadata).toMatchObject({ epoch: "4", step: "16" });
  });

  test("the same seed gives the same weights on one worker as on three, another seed others", async () => {
    const weights = async (name: string, ...options: string[]): Promise<Buffer> => {
      const folder = inTemporary(name);
      const args = ["--optimizer", "sgd", "--epochs", "4", "--lr", "1", "--out", folder];
      expect(await runCli([...small, ...args, ...options])).toMatchObject({ code: 0 });
      return readWeights(join(folder, "checkpoints", "sgd.safetensors"));
    };
    const first = readWeights(join(out, "checkpoints", "sgd.safetensors"));
    expect(first.equals(await weights("one", "--workers", "1"))).toBe(true);
    expect(first.equals(await weights("three", "--workers", "3"))).toBe(true);
    expect(first.equals(await weights("seed", "--seed", "2"))).toBe(false);
  });

  test("its folder takes no second run, and resumes to nothing when it is done", async () => {
    const before = readFileSync(join(out, "metrics.jsonl"), "utf8");
    const second = await runCli([...small, "--out", out]);
    expect(second).toMatchObject({ code: 2, stdout: "" });
    expect(second.stderr).toContain(
      `--out: expected a new folder, got ${out}, which already holds a run`,
    );
    const resumed = await runCli(["--resume", out]);
    expect(resumed).toMatchObject({ code: 0, stderr: "" });
    expect(resumed.stdout).toMatch(/sgd .* test accuracy/);
    expect(readFileSync(join(out, "metrics.jsonl"), "utf8")).toBe(before);
  });
});

function readWeights(file: string): Buffer {
  const { tensors = {} } = decodeCheckpoint(readFileSync(file));
  return Buffer.concat(
    Object.values(tensors).map(({ data }) => Buffer.from(new Float32Array(data).buffer)),
  );
}

test("a table with words for classes trains", async () => {
  const out = inTemporary("table");
  const args = ["--data", table, "--label", "kind", "--hidden", "16", "--epochs", "5"];
  const outcome = await runCli([...args, "--optimizer", "lars32bit", "--out", out]);
  expect(outcome).toMatchObject({ code: 0, stderr: "" });
  expect(outcome.stdout).toContain("120 training and 30 test samples, 3 classes");
  const epochs = [...readMetrics(join(out, "metrics.jsonl"))].filter(
    (line) => line.kind === "epoch",
  );
  expect(epochs.at(-1)!.testAccuracy).toBeGreaterThan(0.9);
});

test("the same optimizer by two names is said", async () => {
  const args = ["--optimizer", "lars32bit,sgd,lars", "--lr", "1", "--epochs", "1"];
  const { code, stdout } = await runCli([...small, ...args, "--out", inTemporary("twice")]);
  expect(code).toBe(0);
  expect(stdout).toContain("note: lars and lars32bit are two names of one optimizer");
});

test("--version names the trainer, the library and Node.js", async () => {
  const outcome = await runCli(["--version"]);
  expect(outcome).toMatchObject({ code: 0, stderr: "" });
  expect(outcome.stdout).toMatch(
    /^layerwise-train \d+\.\d+\.\d+ \(layerwise \d+\.\d+\.\d+, jax-js \d+\.\d+\.\d+, Node\.js \d+\.\d+\.\d+\)\n$/,
  );
});

describe("the command that npm links", () => {
  const bin = fileURLToPath(new URL("../bin/layerwise-train.js", import.meta.url));
  const run = (file: string): Promise<{ code: number; text: string }> =>
    new Promise((resolve) => {
      execFile(process.execPath, [file, "--version"], (error, stdout, stderr) => {
        resolve({ code: Number(error?.code ?? 0), text: stdout + stderr });
      });
    });

  test("is there before anything is built, and is not a file of dist/", () => {
    const { bin: bins } = JSON.parse(
      readFileSync(new URL("../package.json", import.meta.url), "utf8"),
    ) as { bin: Record<string, string> };
    expect(bins).toEqual({ "layerwise-train": "bin/layerwise-train.js" });
    expect(statSync(bin).mode & 0o111).toBe(0o111);
  });

  test("runs what was built, and says so when that is missing", async () => {
    expect(await run(bin)).toMatchObject({
      code: 0,
      text: expect.stringMatching(/^layerwise-train \d/),
    });
    const folder = writeFiles(inTemporary("package/bin"), {
      "layerwise-train.mjs": readFileSync(bin),
    });
    const { code, text } = await run(join(folder, "layerwise-train.mjs"));
    expect(code).toBe(2);
    expect(text).toMatch(
      /^layerwise-train: expected .*dist\/cli\.js, got none; build it: npm run build\n$/,
    );
  });
});

test("an option before sweep is refused, not lost", async () => {
  const outcome = await runCli(["--epochs", "1", "sweep"]);
  expect(outcome).toMatchObject({ code: 2, stdout: "" });
  expect(outcome.stderr).toContain("--epochs: expected after sweep, got before it");
});

test("lenet trains on images", async () => {
  const out = inTemporary("lenet");
  const args = ["--data", images, "--model", "lenet", "--batch-size", "48", "--micro-batch", "16"];
  const outcome = await runCli([...args, "--optimizer", "lars", "--epochs", "6", "--out", out]);
  expect(outcome).toMatchObject({ code: 0, stderr: "" });
  const epochs = [...readMetrics(join(out, "metrics.jsonl"))].filter(
    (line) => line.kind === "epoch",
  );
  expect(epochs.at(-1)!.testAccuracy).toBeGreaterThan(0.9);
});

describe("training that fails: exit code 1", () => {
  test("names step, epoch and layer, writes it down, and trains the next optimizer", async () => {
    const out = inTemporary("failed");
    const options = ["--optimizer", "sgd,lars8bit", "--epochs", "3", "--lr", "1e30"];
    const outcome = await runCli([...small, ...options, "--preset", "apexLARC", "--out", out]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(
      /^sgd: the loss \(.*\) is not finite at step 2, epoch 1; first layer that shows it: dense\d\/\w+/,
    );
    const failures = [...readMetrics(join(out, "metrics.jsonl"))].filter(
      (line) => line.kind === "failed",
    );
    expect(failures[0]).toMatchObject({ optimizer: "sgd", step: 2, epoch: 1 });
    expect(readFileSync(join(out, "report.html"), "utf8")).toContain("is not finite at step 2");
    // It failed the same way when it was resumed, without training again.
    expect(await runCli(["--resume", out])).toMatchObject({ code: 1 });
  });
});

describe("bad usage and bad data: exit code 2, before any training", () => {
  const refused = async (args: readonly string[], message: string): Promise<void> => {
    const out = inTemporary("refused");
    const outcome = await runCli([...args, "--out", out]);
    expect(outcome).toMatchObject({ code: 2, stdout: "" });
    expect(outcome.stderr).toContain(message);
    expect(outcome.stderr).not.toContain("    at ");
    expect(existsSync(out)).toBe(false);
  };
  const cut = writeFiles(inTemporary("cut"), {
    ...idxFiles(),
    "train-images-idx3-ubyte": idxFiles()["train-images-idx3-ubyte"]!.subarray(0, 1000),
  });
  writeFiles(temporary.path, { "words.csv": "a,kind\n1,x\nmany,y\n" });

  test.each<[string, string[]]>([
    ["unknown option '--learning-rate'", ["--learning-rate", "1"]],
    ['command: expected sweep or options, got "train"', ["train"]],
    ['got "sweeep"; did you mean sweep?', ["sweeep"]],
    ['--lr: expected a number > 0, got "fast"', ["--lr", "fast"]],
    ["--max-unorm and --trust-coefficient", ["--max-unorm", "1", "--trust-coefficient", "1"]],
    ['--workers: expected a whole number from 1 to 256, got "0"', ["--workers", "0"]],
    ["does not exist", ["--data", "/nowhere"]],
    ["expected 240 × 12 × 12 values, which are 34560 bytes, got 984", ["--data", cut]],
    ["--label: expected the column of", ["--data", table]],
    ['got "colour"', ["--data", table, "--label", "colour"]],
    [
      'line 3: expected a finite number in column "a", got "many"',
      ["--data", inTemporary("words.csv"), "--label", "kind"],
    ],
    [
      '--label: expected a table with it, got "kind" and the folder',
      ["--data", images, "--label", "kind"],
    ],
    [
      "--batch-size: expected 240 or less, the samples of the training set, got 241",
      ["--data", images, "--batch-size", "241"],
    ],
    [
      "--model lenet: expected images with sides of 12, 16, 20, … pixels, got 3 columns of a table",
      ["--data", table, "--label", "kind", "--model", "lenet"],
    ],
  ])("%s", async (message, args) => {
    await refused(args, message);
  });

  test("--out: a folder that is not empty", async () => {
    const outcome = await runCli([...small, "--out", images]);
    expect(outcome).toMatchObject({ code: 2 });
    expect(outcome.stderr).toContain(
      `--out: expected a new or empty folder, got ${images}, which holds `,
    );
  });

  test("--resume: no run, other options, a broken config.json, other data", async () => {
    const resumed = (...args: string[]): Promise<Outcome> => runCli(["--resume", ...args]);
    expect((await resumed(images)).stderr).toContain("has no config.json");
    expect((await resumed(images, "--epochs", "3")).stderr).toContain(
      "--resume: expected no other option but --workers, got --epochs",
    );
    const folder = writeFiles(inTemporary("broken"), { "config.json": '{"format":"other"}' });
    expect((await resumed(folder)).stderr).toContain('format "other"');
    writeFileSync(join(folder, "config.json"), "{");
    expect(await resumed(folder)).toMatchObject({ code: 2 });
    const data = writeFiles(inTemporary("changing"), idxFiles());
    const run = inTemporary("run-on-changing");
    const args = ["--data", data, "--epochs", "1", "--optimizer", "sgd", "--out", run];
    expect(await runCli(args)).toMatchObject({ code: 0 });
    writeFiles(data, idxFiles({ train: 200 }));
    const changed = await resumed(run);
    expect(changed).toMatchObject({ code: 2 });
    expect(changed.stderr).toContain("--resume: expected the data that");
  });
});

test("--help lists every option and exits with 0", async () => {
  const { code, stdout } = await runCli(["--help"]);
  expect(code).toBe(0);
  for (const option of [
    "model",
    "hidden",
    "data",
    "label",
    "optimizer",
    "batch-size",
    "micro-batch",
    "epochs",
    "lr",
    "warmup-epochs",
    "schedule",
    "momentum",
    "nesterov",
    "weight-decay",
    "max-unorm",
    "trust-coefficient",
    "preset",
    "percentile-clipping",
    "seed",
    "out",
    "resume",
  ]) {
    expect(stdout).toContain(`--${option} `);
  }
});
