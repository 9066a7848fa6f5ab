/**
 * Programs in processes of their own, on what was built: memory that is full, machines that give little, and what is
 * left behind after many optimizers.
 */
import { describe, expect, it } from "vitest";
import { runProgram } from "../helpers/process.js";
import type { Run } from "../helpers/process.js";

const TIMEOUT_MS = 180_000;

/** Fails with what a program said, if it did not come to its end. */
function expectEnd({ status, signal, stderr, told }: Run): void {
  expect({ status, signal }, `${JSON.stringify(told)} ${stderr.slice(-1500)}`).toEqual({
    status: 0,
    signal: null,
  });
}

/** No memory of WebAssembly grows beyond so many MiB. */
const capped = (mebibytes: number): string => `
const { Memory } = WebAssembly;
WebAssembly.Memory = class extends Memory {
  constructor(limits) {
    super({ ...limits, maximum: Math.min(limits.maximum, ${mebibytes * 16}) });
  }
};`;

describe("the kernels' memory is full", { timeout: TIMEOUT_MS }, () => {
  /**
   * 880 layers with weights, gradients and momentum of more than the cap. All elements of a layer are alike, so
   * that with the rule "none" the weights after two steps are w − γ·g and w − γ·g − γ·(0.9·g + g); what is quantised is
   * the block's largest magnitude, which the code has exactly where it is positive.
   */
  const program = (place: "inside" | "outside" | "both", bits: 8 | 32): string => `
const SIZE = ${place === "inside" ? 8192 : 24_576};
const params = Array.from({ length: 880 }, (_, i) => {
  const isInside = ${JSON.stringify(place)} === "inside" || (${JSON.stringify(place)} === "both" && i % 2 === 0);
  const parameter = isInside
    ? Parameter.allocate([SIZE], { name: "layer " + i })
    : new Parameter(new Float32Array(SIZE), { name: "layer " + i });
  parameter.data.fill(1 + i / 880);
  parameter.grad ??= new Float32Array(SIZE);
  parameter.grad.fill(0.25 + i / 1760);
  return parameter;
});
const optimizer = new LARS(params, { lr: 0.5, momentum: 0.9, optimBits: ${bits}, trustRatio: "none" });
const expected = (i, steps) => {
  const [w, g] = [1 + i / 880, 0.25 + i / 1760];
  return steps === 0 ? w : steps === 1 ? w - 0.5 * g : w - 0.5 * g - 0.5 * 1.9 * g;
};
/** Layers that are, element by element, as after so many steps: to 1e-6, four roundings of float32. */
const layersAt = (steps) =>
  params.filter(({ data }, i) => {
    const wanted = expected(i, steps);
    return data.every((value) => Math.abs(value - wanted) <= 1e-6);
  }).length;
for (let steps = 1; steps <= 2; steps++) {
  try {
    optimizer.step();
  } catch (error) {
    tell({ error: String(error), step: steps, before: layersAt(steps - 1), after: layersAt(steps) });
    process.exit();
  }
  tell({ ["after step " + steps]: layersAt(steps) });
}
tell({ error: null });
// Not waiting for threads to end.
process.exit();
`;

  it.each(
    [40, 48, 64].flatMap((mebibytes) =>
      (["inside", "outside", "both"] as const).flatMap((place) =>
        ([8, 32] as const).map((bits) => ({ mebibytes, place, bits })),
      ),
    ),
  )(
    "$mebibytes MiB, 880 layers $place, $bits bits: all layers step, with the right numbers (to 1e-6)",
    async ({ mebibytes, place, bits }) => {
      const run = await runProgram(program(place, bits), {}, capped(mebibytes));
      expectEnd(run);
      expect(run.told).toEqual({ "after step 1": 880, "after step 2": 880, error: null });
    },
  );
});

/**
 * Two optimizers with a layer that several threads would share; what a user sees of them, and whether the weights
 * are right: w − γ·g with the rule "none", to 1e-6.
 */
const twoOptimizers = `
const parameter = Parameter.allocate([1 << 19]);
const outside = new Parameter(new Float32Array(1 << 19));
outside.grad = new Float32Array(1 << 19);
for (const each of [parameter, outside]) { each.data.fill(1); each.grad.fill(0.5); }
const facts = [parameter, outside].map((each) => {
  const optimizer = new LARS([each], { lr: 0.5, momentum: 0.9, trustRatio: "none" }, { threads: 4 });
  optimizer.step();
  const isRight = each.data.every((value) => Math.abs(value - 0.75) <= 1e-6);
  return { threads: optimizer.threads, kernel: optimizer.kernel, isRight };
});
await sleep(300);
tell({ facts, warnings: ours() });
process.exit();
`;

interface Facts {
  facts: { threads: number; kernel?: string; isRight: boolean }[];
  warnings: string[];
}

describe("machines that give little", { timeout: TIMEOUT_MS }, () => {
  it("under Node's permission model: one thread, one warning, the right numbers", async () => {
    const flag = process.allowedNodeEnvironmentFlags.has("--permission")
      ? "--permission"
      : "--experimental-permission";
    const run = await runProgram(twoOptimizers, { flags: [flag, "--allow-fs-read=*"] });
    expectEnd(run);
    const { facts, warnings } = run.told as unknown as Facts;
    expect(facts.map(({ threads, isRight }) => ({ threads, isRight }))).toEqual([
      { threads: 1, isRight: true },
      { threads: 1, isRight: true },
    ]);
    expect(warnings).toHaveLength(1);
  });

  it.each([4, 8, 12, 20])(
    "%s GB of address space: no error, the right numbers, a warning unless all is as usual",
    async (gigabytes) => {
      const addressSpace = gigabytes * 1_000_000;
      const empty = await runProgram("tell({ runs: true });", { addressSpace });
      if (empty.told.runs !== true) {
        console.warn(
          `process.test.ts: Node itself does not start with ${gigabytes} GB of address space; that value is NOT TESTED`,
        );
        return;
      }
      const run = await runProgram(twoOptimizers, { addressSpace });
      expectEnd(run);
      const { facts, warnings } = run.told as unknown as Facts;
      expect(facts.map(({ isRight }) => isRight)).toEqual([true, true]);
      const isUsual = facts.every(({ kernel, threads }) => kernel === "wasm" && threads === 4);
      expect(warnings).toHaveLength(isUsual ? 0 : 1);
    },
  );
});

describe("what is left behind", { timeout: TIMEOUT_MS }, () => {
  it("10,000 optimizers created, stepped and disposed of in a row: less than 10 threads more, less than 200 MB", async () => {
    const run = await runProgram(
      `
const parameter = Parameter.allocate([1 << 18]);
const before = threadCount();
let most = before;
for (let count = 1; count <= 10_000; count++) {
  const optimizer = new LARS([parameter], { lr: 0.1, momentum: 0.9 }, { threads: 4 });
  optimizer.step();
  optimizer.dispose();
  if (count % 100 === 0) {
    most = Math.max(most, threadCount());
    tell({ count, threads: most - before, megabytes: Math.round(process.memoryUsage.rss() / 1e6) });
  }
  // Now and then the program does other things, and workers can report.
  if (count % 1000 === 0) await sleep(0);
}
process.exit();
`,
      { timeoutMs: 120_000 },
    );
    expect(run.told.count, JSON.stringify(run)).toBe(10_000);
    expect(run.told.threads).toBeLessThan(10);
    expect(run.told.megabytes).toBeLessThan(200);
  });

  it("10 elements and threads: 16 start no thread", async () => {
    const run = await runProgram(`
const parameter = Parameter.allocate([10]);
const before = threadCount();
const optimizer = new LARS([parameter], { lr: 0.1, momentum: 0.9 }, { threads: 16 });
optimizer.step();
await sleep(300);
tell({ started: threadCount() - before });
process.exit();
`);
    expectEnd(run);
    expect(run.told).toEqual({ started: 0 });
  });

  it("threads that were needed end some time after the last dispose()", async () => {
    const run = await runProgram(`
const parameter = Parameter.allocate([1 << 20]);
const before = threadCount();
const optimizer = new LARS([parameter], { lr: 0.1 }, { threads: 3 });
optimizer.step();
const rose = await until(() => threadCount() === before + 2, 10_000);
optimizer.dispose();
const fell = await until(() => threadCount() === before, 20_000);
tell({ rose, fell });
process.exit();
`);
    expectEnd(run);
    expect(run.told).toEqual({ rose: true, fell: true });
  });

  /** All memories of WebAssembly, to see how much they hold. */
  const watched = `
const memories = [];
const { Memory } = WebAssembly;
WebAssembly.Memory = class extends Memory {
  constructor(limits) {
    super(limits);
    memories.push(this);
  }
};
const megabytes = () => Math.round(memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0) / 1e6);`;

  it("optimizers that are unreachable give their state back, and their threads end", async () => {
    const run = await runProgram(
      `
const inside = Parameter.allocate([1 << 20]);
const outside = new Parameter(new Float32Array(1 << 20));
outside.grad = new Float32Array(1 << 20);
const before = threadCount();
for (let count = 0; count < 100; count++) {
  // 8 MB of momentum each: 800 MB, if it stayed.
  new LARS([inside, outside], { lr: 0.1, momentum: 0.9 }, { threads: 3 }).step();
  gc();
  await sleep(1);
}
gc();
const threadsEnd = await until(() => { gc(); return threadCount() === before; }, 20_000);
tell({ megabytes: megabytes(), threadsEnd, threads: threadCount() - before });
process.exit();
`,
      { flags: ["--expose-gc"] },
      watched,
    );
    expectEnd(run);
    expect(run.told.megabytes).toBeLessThan(150);
    expect(run.told).toMatchObject({ threadsEnd: true });
  });

  it("what a caller holds of a parameter stays its own: data, grad and views outlive parameter and optimizer", async () => {
    const run = await runProgram(
      `
const held = [];
for (let index = 0; index < 20; index++) {
  const parameter = Parameter.allocate([50_000]);
  parameter.data.fill(index);
  parameter.grad.fill(-index);
  new LARS([parameter], { lr: 0, momentum: 0.9 }).step();
  held.push({ data: parameter.data, grad: parameter.grad, view: parameter.data.subarray(7, 9) });
}
for (let round = 0; round < 10; round++) {
  gc();
  await sleep(5);
  // Takes what has become free, if anything has.
  for (let index = 0; index < 10; index++) {
    const other = Parameter.allocate([50_000]);
    other.data.fill(99);
    other.grad.fill(99);
  }
}
const kept = held.filter(({ data, grad, view }, index) =>
  data.every((value) => value === index) && grad.every((value) => value === -index) && view[0] === index);
tell({ kept: kept.length });
process.exit();
`,
      { flags: ["--expose-gc"] },
    );
    expectEnd(run);
    expect(run.told).toEqual({ kept: 20 });
  });

  it.each(["in order", "backwards", "every other one first"])(
    "16,000 parameters are allocated and disposed of, %s, in less than a second of processor time",
    async (order) => {
      const run = await runProgram(`
const params = Array.from({ length: 16_000 }, () => Parameter.allocate([100]));
const order = {
  "in order": params,
  "backwards": [...params].reverse(),
  "every other one first": [...params.filter((_, i) => i % 2 === 0), ...params.filter((_, i) => i % 2 === 1)],
}[${JSON.stringify(order)}];
const start = process.cpuUsage();
for (const parameter of order) parameter.dispose();
const { user } = process.cpuUsage(start);
const total = process.cpuUsage().user;
tell({ seconds: user / 1e6, withAllocation: total / 1e6 });
process.exit();
`);
      expectEnd(run);
      expect(run.told.seconds).toBeLessThan(1);
    },
  );
});
