/** metrics.jsonl is read one line at a time, and what is kept of it stays small. */
import { execFile } from "node:child_process";
import { closeSync, openSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { countConfusion } from "../src/confusion.js";
import { readLines } from "../src/lines.js";
import { MetricsFile, readMetrics } from "../src/metrics.js";
import type { StepMetrics } from "../src/metrics.js";
import { Thinned, historyOf } from "../src/run-history.js";
import { temporaryFolder } from "./helpers/data.js";

const temporary = temporaryFolder();
afterAll(temporary.remove);

function write(name: string, text: string): string {
  const file = join(temporary.path, name);
  writeFileSync(file, text);
  return file;
}

function stepLine(step: number, layers = 6): StepMetrics {
  const numbers = { weightNorm: 20 / step, gradNorm: 1 / 3, updateNorm: step / 7, trustRatio: 1 };
  return {
    kind: "step",
    optimizer: step % 2 === 0 ? "sgd" : "lars",
    epoch: Math.ceil(step / 100),
    step,
    ...{ lr: 0.1 / step, loss: 1 / step, gradNorm: Math.sqrt(step) },
    ...{ gradientMs: 10, optimizerMs: 1 },
    layers: Array.from({ length: layers }, (_, index) => {
      return { name: `dense${index + 1}/kernel`, ...numbers, clipScale: 1 };
    }),
    noise: null,
  };
}

describe("lines", () => {
  test("are those of the text, wherever chunks of 64 KiB end", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 20 }),
      fc.constantFrom("", "é".repeat(40_000), "x".repeat(65_536), "\n"),
    );
    fc.assert(
      fc.property(fc.array(text), (texts) => {
        const content = texts.join("\n");
        const file = write("lines", content);
        const expected = Buffer.from(content).toString().split("\n").slice(0, -1);
        const lines = [...readLines(file, 2 ** 20)];
        expect(lines.map((line) => line.text)).toEqual(expected);
        expect(lines.map(({ number }) => number)).toEqual(expected.map((_, index) => index + 1));
      }),
      { numRuns: 50 },
    );
  });

  test("that are too long are refused by file and line, with or without an end", () => {
    for (const end of ["\n", ""]) {
      const file = write("long", `a\n${"b".repeat(200_000)}${end}`);
      expect(() => [...readLines(file, 100_000)]).toThrow(`${file}, line 2: expected 100000 bytes`);
    }
  });
});

test("a line that is none of ours is named", () => {
  const good = JSON.stringify(stepLine(1));
  const wrong = [
    "{",
    "[]",
    good.replace('"step"', '"stop"'),
    good.replace('"lars"', '"larch"'),
    good.replace('"step":1', '"step":-1'),
    good.replace('"loss":1', '"loss":"<b>"'),
    good.replace('"loss":1,', ""),
    good.replace(/"layers":.*/, '"layers":{}}'),
    good.replace(/"layers":.*/, '"layers":[null]}'),
  ];
  for (const line of wrong) {
    const file = write("wrong.jsonl", `${good}\n${line}\n`);
    expect(() => [...readMetrics(file)], line).toThrow(`${file}, line 2: `);
  }
});

test("a file of 60 MB is read with 32 MB of memory", async () => {
  const file = join(temporary.path, "large.jsonl");
  const descriptor = openSync(file, "w");
  for (let block = 0; block < 400; block++) {
    const lines = Array.from({ length: 100 }, (_, index) => stepLine(100 * block + index + 1, 10));
    writeSync(descriptor, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }
  closeSync(descriptor);
  expect(statSync(file).size).toBeGreaterThan(60e6);
  const module = (name: string): string => new URL(`../dist/${name}.js`, import.meta.url).href;
  const script = `
    import { readMetrics } from ${JSON.stringify(module("metrics"))};
    import { historyOf } from ${JSON.stringify(module("run-history"))};
    const history = historyOf(readMetrics(${JSON.stringify(file)}), ["dense1/kernel"]);
    console.log(history.of("sgd").steps.count, history.of("sgd").steps.values.length);
  `;
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--max-old-space-size=32",
    ...["--input-type=module", "--eval", script],
  ]);
  const [count, kept] = stdout.split(" ").map(Number);
  expect(count).toBe(20_000);
  expect(kept).toBeLessThanOrEqual(1000);
});

test("a thinned series has the first and the last value, evenly spread ones between, and few", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20_000 }), (count) => {
      const thinned = new Thinned<number>();
      for (let value = 0; value < count; value++) thinned.add(value);
      const { values } = thinned;
      expect(thinned.count).toBe(count);
      expect(values[0]).toBe(0);
      expect(values.at(-1)).toBe(count - 1);
      expect(values.length).toBeLessThanOrEqual(1000);
      expect(values.length).toBeGreaterThanOrEqual(Math.min(count, 500));
      const strides = new Set(values.slice(1, -1).map((value, index) => value - values[index]!));
      expect(strides.size).toBeLessThanOrEqual(1);
    }),
    { numRuns: 50 },
  );
});

test("a history that is read back is the one that was written, and tells equal steps from others", () => {
  const file = join(temporary.path, "written.jsonl");
  const metrics = new MetricsFile(file, 0);
  const lines = Array.from({ length: 5000 }, (_, index) => stepLine(index + 1));
  for (const line of lines) metrics.add(line);
  metrics.close();
  const written = historyOf(lines, ["dense2/kernel"]);
  const read = historyOf(readMetrics(file), ["dense2/kernel"]);
  for (const name of ["sgd", "lars"] as const) {
    expect(read.of(name).steps.values).toEqual(written.of(name).steps.values);
    expect(read.of(name).digest).toBe(written.of(name).digest);
  }
  expect(read.of("sgd").steps.values[0]!.layers.map(({ name }) => name)).toEqual(["dense2/kernel"]);
  const own = lines.filter(({ optimizer }) => optimizer === "sgd");
  const digestOf = (steps: StepMetrics[]): string => historyOf(steps).of("lars").digest;
  const renamed = own.map((line): StepMetrics => ({ ...line, optimizer: "lars", gradientMs: 99 }));
  expect(digestOf(renamed)).toBe(written.of("sgd").digest);
  const other = renamed.with(-1, { ...renamed.at(-1)!, loss: 2 });
  expect(digestOf(other)).not.toBe(written.of("sgd").digest);
});

describe("confusion", () => {
  const samples = fc.array(fc.tuple(fc.nat(7), fc.nat(7)), { maxLength: 200 });

  test("of few classes is the whole matrix", () => {
    fc.assert(
      fc.property(samples, (pairs) => {
        const { classes, mistakes, omitted } = countConfusion(
          pairs.map(([label]) => label),
          pairs.map(([, predicted]) => predicted),
          8,
        );
        const matrix = (label: number, predicted: number): number =>
          pairs.filter((pair) => pair[0] === label && pair[1] === predicted).length;
        expect(omitted).toEqual({ classes: 0, mistakes: 0 });
        expect(classes).toEqual(
          Array.from({ length: 8 }, (_, label) => ({
            class: label,
            samples: pairs.filter((pair) => pair[0] === label).length,
            correct: matrix(label, label),
          })),
        );
        for (const mistake of mistakes) {
          expect(mistake.samples).toBe(matrix(mistake.class, mistake.predicted));
        }
        const wrong = pairs.filter(([label, predicted]) => label !== predicted).length;
        expect(mistakes.reduce((sum, mistake) => sum + mistake.samples, 0)).toBe(wrong);
      }),
    );
  });

  test("of 65,536 classes stays small, and says what is left out", () => {
    const labels = Array.from({ length: 100_000 }, (_, index) => index % 65_536);
    // The first 60 classes are right half of the time, all others never.
    const predictions = labels.map((label, index) =>
      label < 60 && index < 65_536 ? label : (label + 1) % 65_536,
    );
    const confusion = countConfusion(labels, predictions, 65_536);
    expect(confusion.classes).toHaveLength(50);
    expect(confusion.classes[0]).toEqual({ class: 60, samples: 2, correct: 0 });
    expect(confusion.mistakes).toHaveLength(2450);
    expect(confusion.omitted).toEqual({ classes: 65_486, mistakes: 65_536 - 2450 });
    expect(JSON.stringify(confusion).length).toBeLessThan(200_000);
  });
});
