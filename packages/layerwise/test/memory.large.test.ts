/**
 * Sizes near the limits: 300 million parameters, more than the kernels' 4 GiB, the largest layer. Apart
 * from the other tests: `npm run test:large` takes minutes and up to 10 GiB.
 */
import { freemem } from "node:os";
import { describe, expect, it } from "vitest";
import { LARS, LARS8bit, Parameter } from "../src/index.js";
import type { LARSOptions } from "../src/index.js";
import { dequantizeBlockwise, quantizeBlockwise } from "../src/quantization.js";

const GIB = 2 ** 30;

/** Fills an array with a pattern, over and over. */
function repeat(pattern: readonly number[], target: Float32Array): void {
  const length = pattern.length * Math.ceil(65536 / pattern.length);
  const piece = Float32Array.from({ length }, (_, index) => pattern[index % pattern.length]!);
  for (let start = 0; start < target.length; start += length) {
    target.set(piece.subarray(0, Math.min(length, target.length - start)), start);
  }
}

/** ‖x‖ of a repeated pattern, in closed form. */
function normOfRepeated(pattern: readonly number[], length: number): number {
  const whole = Math.floor(length / pattern.length);
  const rest = length % pattern.length;
  const sum = pattern.reduce(
    (total, value, index) => total + value * value * (whole + (index < rest ? 1 : 0)),
    0,
  );
  return Math.sqrt(sum);
}

/** All exact in float32; the periods have nothing in common with blocks and chunks, or each other. */
const WEIGHTS = [-3, -2, -1, 0, 1, 2, 3].map((value) => value / 8);
const GRADIENT = [-2, -1, 0, 1, 2].map((value) => value / 16);

const options: LARSOptions = { lr: 0.5, momentum: 0.9, maxUnorm: 0.02 };

function at(pattern: readonly number[], index: number): number {
  return pattern[index % pattern.length]!;
}

/** Beginnings and ends of blocks, chunks and layers, and places in between. */
function probes(size: number): number[] {
  const fixed = [0, 1, 255, 256, 32_767, 32_768, 65_535, 1_000_003, 2 ** 24 + 1, 2 ** 28 - 1];
  const spread = Array.from({ length: 1000 }, (_, index) => Math.floor((index / 1000) * size));
  return [...fixed, ...spread, size - 2, size - 1].filter((index) => index < size);
}

function expectNear(actual: number, expected: number, what: string): void {
  const difference = Math.abs(actual - expected);
  expect(difference, what).toBeLessThanOrEqual(1e-6 * Math.max(Math.abs(expected), 1e-3));
}

function describeRun(what: string, started: number): void {
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const { rss } = process.memoryUsage();
  console.log(`${what}: ${seconds} s, ${(rss / GIB).toFixed(1)} GiB resident`);
}

/** Two steps with 8-bit momentum over one layer from outside: norms in closed form, weights by probes. */
function twoSteps(size: number): void {
  const weights = new Float32Array(size);
  const parameter = new Parameter(weights);
  parameter.grad = new Float32Array(size);
  repeat(WEIGHTS, weights);
  repeat(GRADIENT, parameter.grad);
  const optimizer = new LARS8bit([parameter], options);
  const started = performance.now();

  const weightNorm = normOfRepeated(WEIGHTS, size);
  const gradNorm = normOfRepeated(GRADIENT, size);
  const first = optimizer.step().layers[0]!;
  const firstRatio = (0.02 * weightNorm) / gradNorm;
  expectNear(first.weightNorm / weightNorm, 1, "‖w‖");
  expectNear(first.gradNorm / gradNorm, 1, "‖g‖");
  expectNear(first.updateNorm / gradNorm, 1, "‖u‖");
  expectNear(first.trustRatio / firstRatio, 1, "r");
  const afterFirst = (index: number): number =>
    at(WEIGHTS, index) - 0.5 * firstRatio * at(GRADIENT, index);
  for (const index of probes(size)) {
    expectNear(weights[index]!, afterFirst(index), `weight ${index}`);
  }
  expect(optimizer.stateBytes).toBe(size + 4 * Math.ceil(size / 256));
  expect(optimizer.stateBytes / size).toBeLessThan(1.0157);

  // m = 0.9·(what the codes stand for) + g: the same five values in every block.
  const stored = dequantizeBlockwise(quantizeBlockwise(Float32Array.from(GRADIENT)));
  const update = GRADIENT.map((gradient, index) => 0.9 * stored[index]! + gradient);
  const second = optimizer.step().layers[0]!;
  const updateNorm = normOfRepeated(update, size);
  expectNear(second.updateNorm / updateNorm, 1, "‖u‖ of the second step");
  const secondRatio = (0.02 * second.weightNorm) / updateNorm;
  expectNear(second.trustRatio / secondRatio, 1, "r of the second step");
  for (const index of probes(size)) {
    const expected = afterFirst(index) - 0.5 * secondRatio * at(update, index);
    expectNear(weights[index]!, expected, `weight ${index} after the second step`);
  }
  describeRun(`two steps over ${size} parameters, ${optimizer.threads} threads`, started);
  optimizer.dispose();
}

describe("one layer from outside the kernels' memory, 8-bit momentum", () => {
  it("300 million parameters: weights and gradient of 1.2 GB each", () => {
    twoSteps(300_000_000);
  });

  const room = freemem() > 12 * GIB;
  if (!room) console.warn("memory.large.test.ts: less than 12 GiB free, 2^30 elements are SKIPPED");

  it.skipIf(!room)("2^30 parameters, the most that a layer may have", () => {
    twoSteps(2 ** 30);
  });
});

describe("more than the kernels' memory holds", () => {
  it("goes outside and is staged: three layers with 1 GiB of weights and 1 GiB of gradient each", () => {
    const size = 2 ** 28;
    const params = [0, 1, 2].map((layer) => Parameter.allocate([size], { name: `layer ${layer}` }));
    const arrays = params.flatMap(({ data, grad }) => [data, grad]);
    const inside = arrays.filter(({ buffer }) => buffer instanceof SharedArrayBuffer);
    // 4 GiB less the kernels' tables hold three arrays of 1 GiB.
    expect(inside.length).toBe(3);

    const started = performance.now();
    for (const { data, grad } of params) {
      repeat(WEIGHTS, data);
      repeat(GRADIENT, grad);
    }
    const optimizer = new LARS(params, { ...options, optimBits: 8 });
    const report = optimizer.step();
    const weightNorm = normOfRepeated(WEIGHTS, size);
    const gradNorm = normOfRepeated(GRADIENT, size);
    const ratio = (0.02 * weightNorm) / gradNorm;
    expectNear(report.gradNorm / (gradNorm * Math.sqrt(3)), 1, "the global norm");
    for (const [layer, { data }] of params.entries()) {
      expectNear(report.layers[layer]!.weightNorm / weightNorm, 1, "‖w‖");
      expectNear(report.layers[layer]!.trustRatio / ratio, 1, "r");
      for (const index of probes(size)) {
        const expected = at(WEIGHTS, index) - 0.5 * ratio * at(GRADIENT, index);
        expectNear(data[index]!, expected, `layer ${layer}, weight ${index}`);
      }
    }
    describeRun("a step over three layers of 2^28, half of them outside", started);

    // What is given back is there again.
    optimizer.dispose();
    for (const parameter of params) parameter.dispose();
    const again = Parameter.allocate([size]);
    expect(again.data.buffer).toBeInstanceOf(SharedArrayBuffer);
    again.dispose();
  });

  it("a step is whole: 880 layers of 525,000 fill the memory before all have their momentum", () => {
    const size = 525_000;
    const params = Array.from({ length: 880 }, () => Parameter.allocate([size]));
    for (const { data, grad } of params) {
      data.fill(1);
      grad.fill(1);
    }
    const optimizer = new LARS(params, { lr: 0.1, momentum: 0.9, trustRatio: "none" });
    const started = performance.now();
    const expected = [1 - 0.1, 1 - 0.1 - 0.19, 1 - 0.1 - 0.19 - 0.271];
    for (const weight of expected) {
      optimizer.step();
      for (const [layer, { data }] of params.entries()) {
        for (const index of [0, size - 1]) expectNear(data[index]!, weight, `layer ${layer}`);
      }
    }
    describeRun("three steps over 462 million parameters in 880 layers", started);
    optimizer.dispose();
    for (const parameter of params) parameter.dispose();
  });
});
