/** Kernels in another program's memory: the core's bits, while that memory grows and moves. */
import { describe, expect, it } from "vitest";
import { LARS, LARS8bit, Parameter } from "../src/index.js";
import { foreignKernel } from "../src/kernels/wasm/foreign-kernel.js";
import { ForeignHeap } from "../src/kernels/wasm/memory/foreign-heap.js";
import { rebind } from "../src/optimizer/parameter.js";
import { expectSameBits } from "./helpers/numbers.js";
import { randomArray } from "./helpers/random.js";

const PAGE = 65_536;
const SIZES = [5, 300, 4096, 100_003];

/** A program with an allocator that grows its memory by what is missing, so that nearly every allocation moves it. */
class Program {
  readonly memory: WebAssembly.Memory;
  readonly sizes = new Map<number, number>();
  #top = 8;

  constructor(shared = false) {
    this.memory = new WebAssembly.Memory({ initial: 1, maximum: 32_768, shared });
  }

  malloc = (bytes: number): number => {
    const address = this.#top;
    const missing = address + bytes - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    this.#top += bytes;
    this.sizes.set(address, bytes);
    return address;
  };

  free = (address: number): void => {
    const bytes = this.sizes.get(address);
    if (bytes === undefined) throw new Error(`${String(address)} is not to be freed`);
    this.sizes.delete(address);
    if (address + bytes === this.#top) this.#top = address;
  };
}

/** They report through the event loop. */
const untilWorkersRun = () => new Promise((resolve) => setTimeout(resolve, 300));

describe.each([LARS, LARS8bit])("%o in another program's memory", (Optimizer) => {
  const options = { lr: 0.1, momentum: 0.9, weightDecay: 1e-4 };

  it.each([
    ["memory", 2, 1],
    ["shared memory", 2, 2],
    ["shared memory", 1, 1],
  ])("computes the core's bits in %s, asked for %i threads", async (kind, asked, threads) => {
    const program = new Program(kind === "shared memory");
    const heap = new ForeignHeap(program);
    // A first kernel sets the memory up, and ends the workers that it started.
    foreignKernel(heap, asked).dispose();
    const kernel = foreignKernel(heap, asked);
    await untilWorkersRun();
    const before = program.sizes.size;
    const layers = SIZES.map((size, layer) => {
      const place = (): number => Math.ceil(program.malloc(4 * size + 4) / 4) * 4;
      const [weights, gradient] = [place(), place()];
      heap.view(weights, size).set(randomArray(size, layer));
      return { size, weights, gradient, parameter: new Parameter(new Float32Array(size)) };
    });
    const inside = SIZES.map((size, layer) => {
      const parameter = Parameter.allocate([size]);
      parameter.data.set(randomArray(size, layer));
      return parameter;
    });
    const ours = new Optimizer(inside, options, { threads: 1 });
    const theirs = new Optimizer(
      layers.map(({ parameter }) => parameter),
      options,
      { kernel },
    );
    const held = program.sizes.size - before;
    for (let step = 0; step < 4; step++) {
      heap.reserve(2 ** 20);
      layers.forEach(({ size, weights, gradient, parameter }, layer) => {
        const values = randomArray(size, 100 * step + layer);
        inside[layer]!.grad.set(values);
        heap.view(gradient, size).set(values);
        rebind(parameter, heap.view(weights, size));
        parameter.grad = heap.view(gradient, size);
      });
      ours.step();
      theirs.step();
      layers.forEach(({ size, weights }, layer) => {
        expectSameBits(heap.view(weights, size), inside[layer]!.data);
      });
      // The program goes on, and its memory moves before the next step.
      program.malloc(3 * PAGE);
    }
    expect(theirs.stateDict()).toEqual(ours.stateDict());
    expect(theirs.threads).toBe(threads);
    theirs.dispose();
    expect(theirs.threads).toBe(1);
    // Four times the program's own, and a job that has grown once.
    expect(program.sizes.size - before - held).toBeLessThanOrEqual(4 + 2);
    ours.dispose();
  });

  it("passes arrays through that lie elsewhere", () => {
    const kernel = foreignKernel(new ForeignHeap(new Program()), 1);
    const [a, b] = [0, 1].map(() => new Parameter(randomArray(70_000, 3))) as [
      Parameter,
      Parameter,
    ];
    const ours = new Optimizer([a], options, { threads: 1 });
    const theirs = new Optimizer([b], options, { kernel });
    for (let step = 0; step < 3; step++) {
      for (const parameter of [a, b]) parameter.grad = randomArray(70_000, step);
      ours.step();
      theirs.step();
      expectSameBits(b.data, a.data);
    }
    ours.dispose();
    theirs.dispose();
  });
});

it("leaves momentum outside when the program has no room", () => {
  const program = new Program();
  const kernel = foreignKernel(
    new ForeignHeap({
      memory: program.memory,
      malloc: (bytes) => (bytes > 2 ** 21 ? 0 : program.malloc(bytes)),
      free: program.free,
    }),
    1,
  );
  const [a, b] = [0, 1].map(() => new Parameter(randomArray(800_000, 3))) as [Parameter, Parameter];
  const ours = new LARS([a], { lr: 0.1, momentum: 0.9 });
  const theirs = new LARS([b], { lr: 0.1, momentum: 0.9 }, { kernel });
  for (let step = 0; step < 3; step++) {
    for (const parameter of [a, b]) parameter.grad = randomArray(800_000, step);
    ours.step();
    theirs.step();
    expectSameBits(b.data, a.data);
  }
});
