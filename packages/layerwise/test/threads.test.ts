import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, it, vi } from "vitest";
import { accumulate, LARS, LARS8bit, Parameter } from "../src/index.js";
import type { LARSOptions } from "../src/index.js";
import { CHUNK_SIZE } from "../src/kernels/kernel.js";

const built = fileURLToPath(new URL("../dist/index.js", import.meta.url));

/** Numbers that look random and are the same every time. */
function noise(length: number, seed: number): Float32Array {
  let state = seed * 2654435761 + 1;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function layers(sizes: readonly number[]): Parameter[] {
  return sizes.map((size, index) => {
    const parameter = Parameter.allocate([size], { name: `layer ${String(index)}` });
    parameter.data.set(noise(size, index + 1));
    return parameter;
  });
}

/** Lets workers come up: they report through the event loop. */
const untilWorkersRun = () => new Promise((resolve) => setTimeout(resolve, 300));

/** The bits of all weights after four steps, as a digest: comparing millions of numbers is slow. */
async function trajectory(options: LARSOptions, threads: number): Promise<string> {
  const params = layers([1, 300, 32768, 32769, 1_000_003, 70_000]);
  const optimizer = new LARS(params, options, { threads });
  for (let step = 0; step < 4; step++) {
    params.forEach((parameter, index) => {
      parameter.grad?.set(noise(parameter.size, 100 * step + index));
    });
    optimizer.step();
    // The first step starts them.
    if (step === 0) await untilWorkersRun();
  }
  const hash = createHash("sha256");
  for (const { data } of params) hash.update(new Uint8Array(data.slice().buffer));
  optimizer.dispose();
  for (const parameter of params) parameter.dispose();
  return hash.digest("hex");
}

/** Workers outlive their optimizer by a second, and would help the next one. */
const untilWorkersEnd = () => new Promise((resolve) => setTimeout(resolve, 1300));

/** Every worker that is started from now on, through the door that the library takes. */
async function spyOnWorkers(
  change: (source: string) => string = (source) => source,
): Promise<Worker[]> {
  await untilWorkersEnd();
  const workers: Worker[] = [];
  const original = process.getBuiltinModule.bind(process);
  class Spied extends Worker {
    constructor(source: string, options: object) {
      super(change(source), options);
      workers.push(this);
    }
  }
  vi.spyOn(process, "getBuiltinModule").mockImplementation((name: string) =>
    name === "node:worker_threads" ? { Worker: Spied } : original(name),
  );
  return workers;
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("threads", () => {
  const cases: [string, LARSOptions][] = [
    ["32 bits, clip-update", { lr: 0.1, momentum: 0.9, weightDecay: 1e-4 }],
    ["8 bits, clip-update, Nesterov", { lr: 0.1, momentum: 0.9, nesterov: true, optimBits: 8 }],
    [
      "scale-gradient, joint, percentile and global clipping",
      {
        lr: 0.1,
        momentum: 0.9,
        trustRatio: { rule: "scale-gradient", denominator: "joint" },
        percentileClipping: 50,
        maxGradNorm: 1,
      },
    ],
  ];

  it.each(cases)("%s: the same bits on 1, 2, 3 and 8 threads", async (_, options) => {
    const expected = await trajectory(options, 1);
    for (const threads of [2, 3, 8]) {
      expect(await trajectory(options, threads)).toBe(expected);
    }
  });

  it("says how many there are, the cores by default", () => {
    const [parameter] = layers([10]) as [Parameter];
    for (const threads of [1, 3]) {
      const optimizer = new LARS([parameter], { lr: 1 }, { threads });
      expect(optimizer.threads).toBe(threads);
      optimizer.dispose();
    }
    const reference = new LARS([parameter], { lr: 1 }, { kernel: "reference", threads: 4 });
    expect(reference.threads).toBe(1);
    const optimizer = new LARS([parameter], { lr: 1 });
    expect(optimizer.threads).toBe(availableParallelism());
    optimizer.dispose();
  });

  it("start when a step first needs them, as many as it has chunks for", async () => {
    const workers = await spyOnWorkers();
    const small = new LARS(layers([10]), { lr: 0.1 }, { threads: 16 });
    small.step();
    expect(workers).toHaveLength(0);
    const large = new LARS(layers([CHUNK_SIZE * 5]), { lr: 0.1 }, { threads: 16 });
    large.step();
    expect(workers).toHaveLength(4);
    small.dispose();
    large.dispose();
  });

  it.each([0, 1.5, -1, 65, Number.NaN])("refuses %s threads", (threads) => {
    expect(() => new LARS(layers([4]), { lr: 1 }, { threads })).toThrow(
      /threads: expected a whole number from 1 to 64, got/,
    );
  });

  it("take part in the work, small layers aside", async () => {
    const workers = await spyOnWorkers((source) =>
      source.replace(
        "exports.work(job)",
        "require('node:worker_threads').parentPort.postMessage('asked')",
      ),
    );
    const optimizer = new LARS(layers([1 << 19, 64]), { lr: 0.1 }, { threads: 2 });
    optimizer.step();
    await untilWorkersRun();
    const asked = new Promise((resolve) => workers[0]!.once("message", resolve));
    optimizer.step();
    expect(await asked).toBe("asked");
    const listener = vi.fn();
    workers[0]!.on("message", listener);
    // A step asks for each of its passes, and a busy machine tells late.
    for (let calls = -1; calls !== listener.mock.calls.length;) {
      calls = listener.mock.calls.length;
      await untilWorkersEnd();
    }
    const { length: before } = listener.mock.calls;
    const small = new LARS(layers([1000, 2000]), { lr: 0.1 }, { threads: 2 });
    small.step();
    await untilWorkersRun();
    expect(listener).toHaveBeenCalledTimes(before);
    small.dispose();
    optimizer.dispose();
  });

  it("end a second after the last optimizer that uses them is disposed of", async () => {
    const workers = await spyOnWorkers();
    const a = new LARS(layers([1 << 18]), { lr: 1 }, { threads: 2 });
    const b = new LARS8bit(layers([1 << 18]), { lr: 1 }, { threads: 3 });
    a.step();
    b.step();
    await untilWorkersRun();
    expect(workers).toHaveLength(2);
    const ended = Promise.all(
      workers.map((worker) => new Promise((resolve) => worker.once("exit", resolve))),
    );
    b.dispose();
    await untilWorkersRun();
    expect(workers.every(({ threadId }) => threadId > 0)).toBe(true);
    a.dispose();
    const disposed = performance.now();
    await untilWorkersRun();
    const next = new LARS(layers([1 << 18]), { lr: 1 }, { threads: 3 });
    next.step();
    expect(workers).toHaveLength(2);
    next.dispose();
    expect(await ended).toEqual([0, 0]);
    expect(performance.now() - disposed).toBeGreaterThan(1000);
  });

  it("a worker that dies is an error at the next step, then one thread goes on", async () => {
    const workers = await spyOnWorkers();
    const [parameter] = layers([1 << 18]) as [Parameter];
    const optimizer = new LARS([parameter], { lr: 0.1 }, { threads: 2 });
    parameter.grad?.fill(1);
    optimizer.step();
    await untilWorkersRun();
    await workers[0]!.terminate();
    await untilWorkersRun();
    const before = parameter.data.slice();
    expect(() => optimizer.step()).toThrow(/a kernel thread has ended/);
    expect(parameter.data).toEqual(before);
    expect(optimizer.threads).toBe(1);
    expect(optimizer.step().step).toBe(2);
    expect(parameter.data).not.toEqual(before);
    optimizer.dispose();
  });

  it(
    "a worker that dies in the middle of a chunk is an error, not a hang",
    { timeout: 60_000 },
    async () => {
      await spyOnWorkers((source) =>
        source.replace(
          "exports.work(job)",
          "Atomics.add(new BigInt64Array(memory.buffer, job, 1), 0, 1n); process.exit()",
        ),
      );
      const optimizer = new LARS(layers([1 << 24]), { lr: 0.1 }, { threads: 2 });
      expect(() => {
        for (let step = 0; step < 1000; step++) optimizer.step();
      }).toThrow(/a kernel thread did not finish its part of a step/);
      optimizer.dispose();
    },
  );

  it("never keep a program alive, and are no part of how it was started", () => {
    // Workers would take flags over: they would be modules, too, and load what the program preloads.
    const preload = `data:text/javascript,${encodeURIComponent(
      "import { isMainThread } from 'node:worker_threads'; if (!isMainThread) throw new Error('preloaded');",
    )}`;
    const program = `
      import { LARS, Parameter } from ${JSON.stringify(built)};
      const optimizer = new LARS([Parameter.allocate([1 << 20])], { lr: 1 }, { threads: 3 });
      optimizer.step();
      await new Promise((resolve) => setTimeout(resolve, 300));
      optimizer.step();
      console.log(optimizer.threads);
    `;
    const { status, stdout, stderr, signal } = spawnSync(
      process.execPath,
      ["--import", preload, "--input-type=module", "--eval", program],
      { encoding: "utf8", timeout: 20_000 },
    );
    expect({ status, signal, stdout, stderr }).toEqual({
      ...{ status: 0, signal: null, stdout: "3\n", stderr: "" },
    });
  });
});

describe("accumulate", () => {
  it("adds scaled gradients, inside and outside of the kernels' memory, as float32 does", () => {
    const size = 40_000;
    const inside = Parameter.allocate([size]);
    const outside = new Parameter(new Float32Array(size));
    const parts = [noise(size, 1), noise(size, 2), noise(size, 3)];
    const expected = new Float32Array(size);
    for (const part of parts) {
      part.forEach((value, index) => {
        expected[index]! += Math.fround(value * Math.fround(1 / 3));
      });
      accumulate(inside, part, 1 / 3);
      accumulate(outside, part, 1 / 3);
    }
    expect(inside.grad).toEqual(expected);
    expect(outside.grad).toEqual(expected);
  });

  it("has a scale of 1 by default", () => {
    const parameter = Parameter.allocate([3]);
    accumulate(parameter, Float32Array.of(1, 2, 3));
    expect(parameter.grad).toEqual(Float32Array.of(1, 2, 3));
  });

  it("refuses other lengths, types and scales, and adds nothing then", () => {
    const parameter = Parameter.allocate([3], { name: "bias" });
    expect(() => {
      accumulate(parameter, new Float32Array(2));
    }).toThrow(/"bias": .*gradient.*2/);
    expect(() => {
      accumulate(parameter, [1, 2, 3] as never);
    }).toThrow(TypeError);
    expect(() => {
      accumulate(parameter, new Float32Array(3), Number.NaN);
    }).toThrow(/scale: expected a finite number, got NaN/);
    expect(parameter.grad).toEqual(new Float32Array(3));
  });
});
