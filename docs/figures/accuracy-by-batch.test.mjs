/** The figure of a made-up table: what it draws, what it says in text, and what it refuses. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { render } from "./accuracy-by-batch.mjs";
import { tableOfSweep } from "./table-of-sweep.mjs";

/** Invented numbers, for this test only. */
const table = {
  title: "Made up: rise & fall",
  batchSizes: [256, 1024, 8192],
  optimizers: ["up <1>", "down"],
  mean: [
    [0.9, 0.925, 0.95],
    [0.95, null, 0.9],
  ],
  low: [
    [0.89, 0.92, 0.94],
    [0.94, null, 0.89],
  ],
  high: [
    [0.91, 0.93, 0.96],
    [0.96, null, 0.91],
  ],
};

/** The coordinates of the lines that are drawn without a fill: the two optimizers', in order. */
function linesOf(svg) {
  const paths = [...svg.matchAll(/<path d="([^"]*)" fill="none"[^>]*stroke-width="2.5"/g)];
  return paths.map(([, d]) =>
    [...d.matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [+x, +y]),
  );
}

describe("the figure", () => {
  for (const theme of ["light", "dark"]) {
    it(`has a line an optimizer, through its points in scale, in ${theme}`, () => {
      const [up, down] = linesOf(render(table, theme));
      assert.equal(up.length, 3);
      assert.equal(down.length, 2);
      // The batch sizes are 2 and 3 doublings apart; higher accuracies lie higher.
      assert.ok(Math.abs((up[2][0] - up[1][0]) / (up[1][0] - up[0][0]) - 1.5) < 0.02);
      assert.ok(up[0][1] > up[1][1] && up[1][1] > up[2][1]);
      assert.ok(down[0][1] < down[1][1]);
      assert.ok(Math.abs(up[0][1] - down[1][1]) < 0.5);
    });
  }

  it("names batch sizes and optimizers, and says all numbers in text", () => {
    const svg = render(table, "light");
    for (const text of ["256", "1,024", "8,192", "up &lt;1&gt;", "down", "batch size"]) {
      assert.ok(svg.includes(`>${text}</text>`), text);
    }
    assert.match(svg, /^<svg role="img" /);
    assert.ok(svg.includes("<title>Made up: rise &amp; fall</title>"));
    assert.ok(svg.includes("down: 95.00 % at 256, not measured at 1024, 90.00 % at 8192."));
  });

  it("is the same on every run, and another in the other theme", () => {
    assert.equal(render(table, "light"), render(table, "light"));
    assert.notEqual(render(table, "light"), render(table, "dark"));
  });

  it("moves with the numbers", () => {
    const other = structuredClone(table);
    other.mean[0][1] = 0.91;
    assert.notDeepEqual(linesOf(render(other, "light"))[0], linesOf(render(table, "light"))[0]);
  });
});

describe("a table that is not one", () => {
  for (const [wrong, message] of [
    [{ ...table, title: 1 }, /^title: expected a string, got 1/],
    [{ ...table, batchSizes: [1024, 256, 8192] }, /^batchSizes: expected ascending/],
    [{ ...table, optimizers: [] }, /^optimizers: expected a list of names, got \[\]/],
    [{ ...table, mean: [[0.9, 0.9, 90]] }, /^mean: expected 2 lists of 3 accuracies/],
    [{ ...table, low: table.low.map((row) => row.slice(1)) }, /^low: expected 2 lists of 3/],
    [{ ...table, high: undefined }, /^high: expected/],
    [null, /^table: expected an object/],
  ]) {
    it(`is refused: ${message.source}`, () => {
      assert.throws(() => render(wrong, "light"), { message });
    });
  }
});

describe("the command", () => {
  const script = fileURLToPath(new URL("accuracy-by-batch.mjs", import.meta.url));
  const run = (...args) => spawnSync(process.execPath, [script, ...args], { encoding: "utf8" });

  it("writes both files", () => {
    const folder = mkdtempSync(join(tmpdir(), "layerwise-figures-"));
    try {
      writeFileSync(join(folder, "table.json"), JSON.stringify(table));
      const { status, stderr } = run(join(folder, "table.json"), join(folder, "figure"));
      assert.equal(stderr, "");
      assert.equal(status, 0);
      for (const theme of ["light", "dark"]) {
        const written = readFileSync(join(folder, `figure-${theme}.svg`), "utf8");
        assert.equal(written, render(table, theme));
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("says how it is used", () => {
    const { status, stderr } = run();
    assert.equal(status, 2);
    assert.match(stderr, /^Usage: /);
  });
});

describe("the table of a sweep", () => {
  it("has means and ranges over the seeds, by ascending batch size; null where nothing converged", () => {
    const summary = {
      grid: { optimizers: ["a", "b"], batchSizes: [512, 64] },
      best: [
        { optimizer: "a", batchSize: 64, accuracies: [0.5, 0.75, 1] },
        { optimizer: "a", batchSize: 512, accuracies: [0.25] },
        { optimizer: "b", batchSize: 64, accuracies: [] },
      ],
    };
    assert.deepEqual(tableOfSweep(summary, "Made up"), {
      title: "Made up",
      batchSizes: [64, 512],
      optimizers: ["a", "b"],
      mean: [
        [0.75, 0.25],
        [null, null],
      ],
      low: [
        [0.5, 0.25],
        [null, null],
      ],
      high: [
        [1, 0.25],
        [null, null],
      ],
    });
  });
});
