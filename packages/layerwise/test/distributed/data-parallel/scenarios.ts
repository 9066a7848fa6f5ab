/** What DataParallel does in single situations. Each scenario returns what its test looks at, on every rank. */
import type { Collective } from "../../../src/distributed/collective.js";
import { DataParallel } from "../../../src/distributed/data-parallel.js";
import { LARS, Parameter, schedules } from "../../../src/index.js";
import { createKernel } from "../../../src/kernels/choose.js";
import type { Kernel } from "../../../src/kernels/kernel.js";
import { randomArray } from "../../helpers/random.js";
import type { SharedCollective } from "../ranks/shared-collective.js";

/** Layers of a few elements, with gradients. */
function layers(count: number): Parameter[] {
  return Array.from({ length: count }, (_, index) => {
    const parameter = new Parameter(randomArray(5, index), { name: `layer ${index}` });
    parameter.grad = randomArray(5, 100 + index);
    return parameter;
  });
}

/** What is thrown, as text. */
function thrown(work: () => unknown): string | null {
  try {
    work();
    return null;
  } catch (error) {
    return String(error);
  }
}

const ONE_THREAD = { threads: 1 };
/** A bucket for each layer. */
const SMALL = { bucketBytes: 1 };

export const scenarios = {
  /** Calls of one step with all layers in one bucket. */
  callsOfAStep: (collective: SharedCollective): string[] => {
    const parallel = new DataParallel(new LARS(layers(3), { lr: 1 }, ONE_THREAD), collective);
    const before = collective.calls.length;
    parallel.step();
    return collective.calls.slice(before);
  },

  /** How many layers are summed after each announcement: of the last layer but one, the last, and the first. */
  earlySums: (collective: SharedCollective): number[] => {
    const params = layers(3);
    const optimizer = new LARS(params, { lr: 1 }, ONE_THREAD);
    const parallel = new DataParallel(optimizer, collective, SMALL);
    const sums = (): number => collective.calls.filter((call) => call === "allReduce").length;
    const counts = [1, 2, 0].map((layer) => {
      parallel.gradientReady(params[layer]!);
      return sums();
    });
    parallel.step();
    return [...counts, sums()];
  },

  announcedTwice: (collective: Collective): (string | null)[] => {
    const params = layers(2);
    const optimizer = new LARS(params, { lr: 1 }, ONE_THREAD);
    const parallel = new DataParallel(optimizer, collective, SMALL);
    const announce = (layer: number) => () => {
      parallel.gradientReady(params[layer]!);
    };
    const errors = [0, 0, 1, 1].map((layer) => thrown(announce(layer)));
    parallel.zeroGrad();
    errors.push(thrown(announce(1)));
    parallel.step();
    errors.push(thrown(announce(1)));
    return errors;
  },

  stranger: (collective: Collective): string | null => {
    const parallel = new DataParallel(new LARS(layers(1), { lr: 1 }, ONE_THREAD), collective);
    return thrown(() => {
      parallel.gradientReady(layers(1)[0]!);
    });
  },

  /** Rank 1 alone has a gradient: what it is after the step (null where there was none), and the weights. */
  borrowedGradient: (collective: Collective): { grad: number[] | null; weights: number[] } => {
    const parameter = new Parameter(Float32Array.of(0, 1, 2));
    const optimizer = new LARS([parameter], { lr: 1, trustRatio: "none" }, ONE_THREAD);
    const parallel = new DataParallel(optimizer, collective, { gradients: "sum" });
    for (let step = 0; step < 2; step++) {
      parameter.grad = collective.rank === 1 ? Float32Array.of(-0, 2, 3) : null;
      parallel.step();
    }
    const { grad, data } = parameter;
    return { grad: grad === null ? null : [...grad], weights: [...data] };
  },

  /** Steps until weights that differ since the fourth step are found. */
  lateDifference: (collective: Collective): { steps: number; error: string } => {
    const params = layers(2);
    const optimizer = new LARS(params, { lr: 0.01 }, ONE_THREAD);
    const parallel = new DataParallel(optimizer, collective, { checkEvery: 3 });
    for (let steps = 1; ; steps++) {
      for (const { grad } of params) grad!.fill(1);
      const error = thrown(() => parallel.step());
      if (error !== null) return { steps, error };
      if (steps === 4 && collective.rank === 1) params[0]!.data[2]! += 1;
    }
  },

  /** Rates of steps after rank 0 alone has loaded a checkpoint of five steps. */
  ratesAfterLoading: (collective: Collective): number[] => {
    const options = { lr: schedules.warmup({ peak: 1, steps: 10 }), momentum: 0.9 };
    const params = layers(2);
    const optimizer = new LARS(params, options, ONE_THREAD);
    if (collective.rank === 0) {
      for (let step = 0; step < 5; step++) optimizer.step();
    }
    const parallel = new DataParallel(optimizer, collective);
    return [1, 2].map(() => {
      params.forEach((parameter, index) => (parameter.grad = randomArray(5, index)));
      return parallel.step().lr;
    });
  },

  /** Rank 1's memory is full in the middle of a step. */
  fullMemory: (collective: Collective): string | null => {
    const wasm = createKernel("wasm", 1);
    const kernel: Kernel = {
      name: "wasm",
      threads: 1,
      measure: (tasks) => wasm.measure(tasks),
      apply: (tasks) => wasm.apply(tasks),
      allocateMomentum: (kind, size) => {
        if (collective.rank === 1) throw new RangeError("Array buffer allocation failed");
        return wasm.allocateMomentum(kind, size);
      },
      releaseMomentum: (momentum) => {
        wasm.releaseMomentum(momentum);
      },
      dispose: () => {
        wasm.dispose();
      },
    };
    const optimizer = new LARS(layers(1), { lr: 1, momentum: 0.9 }, { kernel });
    const parallel = new DataParallel(optimizer, collective);
    return thrown(() => parallel.step());
  },

  /** Rank 1 has no memory for a gradient that only rank 0 has. */
  noMemoryToBorrow: (collective: Collective): string | null => {
    const parameter = new Parameter(new Float32Array(12_345), { name: "embedding" });
    const optimizer = new LARS([parameter], { lr: 1 }, ONE_THREAD);
    const parallel = new DataParallel(optimizer, collective);
    if (collective.rank === 0) parameter.grad = new Float32Array(parameter.size);
    else {
      globalThis.Float32Array = new Proxy(Float32Array, {
        construct: (type, args, target) => {
          if (args[0] === parameter.size) throw new RangeError("Array buffer allocation failed");
          return Reflect.construct(type, args, target) as Float32Array;
        },
      });
    }
    return thrown(() => parallel.step());
  },

  /** Options of a step that one rank gives wrong, then different, then all alike. */
  stepOptions: (collective: Collective): (string | null)[] => {
    const params = layers(1);
    const parallel = new DataParallel(new LARS(params, { lr: 0.01 }, ONE_THREAD), collective);
    const { rank } = collective;
    return [rank === 1 ? 0 : 1, rank === 1 ? 0.5 : 1, 1].map((gradScale) => {
      params[0]!.grad!.fill(1);
      return thrown(() => parallel.step({ gradScale }));
    });
  },
};

export type ScenarioName = keyof typeof scenarios;

export function run(collective: SharedCollective, name: ScenarioName): unknown {
  return scenarios[name](collective);
}
