/** What sharded optimizers do in single situations. Each scenario returns what its test looks at, on every rank. */
import type { Collective } from "../../../src/distributed/collective.js";
import { ShardedLARS, ShardedLARS32bit } from "../../../src/distributed/sharded/sharded-lars.js";
import { Parameter } from "../../../src/index.js";
import { createKernel } from "../../../src/kernels/choose.js";
import type { Kernel } from "../../../src/kernels/kernel.js";
import { randomArray } from "../../helpers/random.js";
import { digestOf } from "../data-parallel/program.js";

const OPTIONS = { lr: 0.1, momentum: 0.9 };
/** Of layers: one lies on both of two ranks. */
const SIZES = [5, 100_000, 7];

function layersOf(sizes: readonly number[] = SIZES): Parameter[] {
  return sizes.map((size, index) => {
    const parameter = new Parameter(randomArray(size, index + 1), { name: `layer ${index}` });
    parameter.grad = randomArray(size, 100 + index);
    return parameter;
  });
}

function fill(params: readonly Parameter[]): void {
  params.forEach(({ grad }, index) => grad?.set(randomArray(grad.length, 200 + index)));
}

/** A kernel that has no memory for momentum while `isFull` says so. */
function limitedKernel(isFull: () => boolean): Kernel {
  const wasm = createKernel("wasm", 1);
  return {
    name: "wasm",
    threads: 1,
    measure: (tasks) => wasm.measure(tasks),
    apply: (tasks) => wasm.apply(tasks),
    allocateMomentum: (kind, size) => {
      if (isFull()) throw new RangeError("Array buffer allocation failed");
      return wasm.allocateMomentum(kind, size);
    },
    releaseMomentum: (momentum) => {
      wasm.releaseMomentum(momentum);
    },
    dispose: () => {
      wasm.dispose();
    },
  };
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

export const scenarios = {
  /** Rank 1 disposes of a parameter; then all save the state of before. */
  disposedParameter: (collective: Collective) => {
    const params = layersOf();
    const optimizer = new ShardedLARS(params, OPTIONS, { collective, threads: 1 });
    const gone = Parameter.allocate([40_000], { name: "gone" });
    optimizer.addParamGroup({ params: [gone] });
    optimizer.step();
    const before = digestOf(params, optimizer.stateDict());
    if (collective.rank === 1) gone.dispose();
    const after = digestOf(params, optimizer.stateDict());
    return { before, after, step: thrown(() => optimizer.step()) };
  },

  /** Rank 1 has another state than rank 0: a momentum that differs in one element, then a state of one step more. */
  differentStates: (collective: Collective) => {
    const params = layersOf();
    const optimizer = new ShardedLARS32bit(params, OPTIONS, { collective, threads: 1 });
    optimizer.step();
    const state = optimizer.stateDict();
    fill(params);
    optimizer.step();
    const before = digestOf(params, optimizer.stateDict());
    const other = structuredClone(state);
    if (collective.rank === 1) {
      const { momentum } = other.layers[1]!;
      if (momentum?.kind === "float32") momentum.values[99_999]! += 1;
    }
    const errors = [thrown(() => optimizer.loadStateDict(other))];
    const later = { ...state, step: collective.rank === 1 ? 2 : 1 };
    errors.push(thrown(() => optimizer.loadStateDict(later)));
    const wrong = collective.rank === 1 ? { step: 1, layers: [] } : state;
    errors.push(thrown(() => optimizer.loadStateDict(wrong)));
    return { errors, before, after: digestOf(params, optimizer.stateDict()) };
  },

  /** Rank 0 alone gets new weights, after the start; after a load; and in the middle of training. */
  differentWeights: (collective: Collective) => {
    const params = layersOf();
    const optimizer = new ShardedLARS(params, OPTIONS, { collective, threads: 1, checkEvery: 2 });
    const weights = params[1]!.data;
    let right = 0;
    const change = (): void => {
      right = weights[50_000]!;
      if (collective.rank === 0) weights[50_000] = 1;
    };
    const step = (): string | null => {
      fill(params);
      return thrown(() => optimizer.step());
    };
    const errors: (string | null)[] = [];
    for (let round = 0; round < 2; round++) {
      change();
      const before = [...weights];
      errors.push(step());
      if (weights.some((value, index) => value !== before[index])) errors.push("written");
      weights[50_000] = right;
      errors.push(step());
      optimizer.loadStateDict(optimizer.stateDict());
    }
    errors.push(step(), step());
    change();
    errors.push(step(), step());
    return errors;
  },

  /** Groups that are wrong or different on rank 1, then one that is right. */
  refusedGroups: (collective: Collective) => {
    const params = layersOf();
    const optimizer = new ShardedLARS(params, OPTIONS, { collective, threads: 1 });
    const isOther = collective.rank === 1;
    const [added] = layersOf([40_000]);
    const add = (lr: number, group: Parameter[]): string | null =>
      thrown(() => {
        optimizer.addParamGroup({ params: group, lr });
      });
    const errors = [
      add(isOther ? -1 : 0.5, [added!]),
      add(isOther ? 0.25 : 0.5, [added!]),
      add(0.5, layersOf([isOther ? 8 : 9])),
      add(0.5, [isOther ? params[0]! : added!]),
    ];
    const groups = optimizer.paramGroups.length;
    errors.push(thrown(() => optimizer.step()));
    errors.push(add(0.5, [added!]));
    fill(params);
    const { layers } = optimizer.step();
    return { errors, groups, layers: layers.map(({ name }) => name) };
  },

  /** Layers in lists that can be read once, as generators make them. */
  listsReadOnce: (collective: Collective) => {
    function* once(params: readonly Parameter[]): Generator<Parameter> {
      yield* params;
    }
    const lists = [layersOf([5]), layersOf([6])].map(
      (list) => once(list) as unknown as Parameter[],
    );
    const optimizer = new ShardedLARS(lists[0]!, OPTIONS, { collective, threads: 1 });
    optimizer.addParamGroup({ params: lists[1]! });
    return optimizer.step().layers.length;
  },

  /** Two layers over one array. */
  sharedArray: (collective: Collective) => {
    const data = randomArray(40_000, 1);
    const twins = ["a", "b"].map((name) => new Parameter(data, { name }));
    return thrown(() => new ShardedLARS(twins, OPTIONS, { collective }));
  },

  /** Options that only rank 1 has wrong. */
  wrongOptions: (collective: Collective) => {
    const params = layersOf();
    const isOther = collective.rank === 1;
    return [{ gradients: "max" }, { threads: 0 }, { sharding: 1 }, { checkEvery: -1 }].map(
      (wrong) =>
        thrown(
          () =>
            new ShardedLARS(params, OPTIONS, {
              collective,
              ...(isOther ? (wrong as unknown as { threads: number }) : {}),
            }),
        ),
    );
  },

  /** Options that differ. */
  differentOptions: (collective: Collective) => {
    const params = layersOf();
    const { rank } = collective;
    const shapes = layersOf([5, 100_000 - rank, 7]);
    return [
      thrown(
        () =>
          new ShardedLARS(params, OPTIONS, {
            collective,
            gradients: rank === 1 ? "sum" : "mean",
          }),
      ),
      thrown(() => new ShardedLARS(params, { ...OPTIONS, momentum: 0.9 + rank }, { collective })),
      thrown(() => new ShardedLARS(params, { ...OPTIONS, nesterov: rank === 1 }, { collective })),
      thrown(() => new ShardedLARS(shapes, OPTIONS, { collective })),
    ];
  },

  /** Rank 1's memory is full in the middle of a step. */
  fullMemory: (collective: Collective) => {
    const kernel = limitedKernel(() => collective.rank === 1);
    const optimizer = new ShardedLARS(layersOf(), OPTIONS, { collective, kernel });
    return thrown(() => optimizer.step());
  },

  /** Rank 1's memory is full when a state is loaded. */
  fullMemoryForState: (collective: Collective) => {
    let isFull = false;
    const kernel = limitedKernel(() => isFull);
    const optimizer = new ShardedLARS(layersOf(), OPTIONS, { collective, kernel });
    optimizer.step();
    const state = optimizer.stateDict();
    isFull = collective.rank === 1;
    return thrown(() => optimizer.loadStateDict(state));
  },
};

export type ScenarioName = keyof typeof scenarios;

export function run(collective: Collective, name: ScenarioName): unknown {
  return scenarios[name](collective);
}
