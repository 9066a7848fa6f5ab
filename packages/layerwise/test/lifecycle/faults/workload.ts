/** A program that uses all of the library that allocates, call by call. */
import type * as checkpoint from "../../../src/checkpoint.js";
import type * as layerwise from "../../../src/index.js";
import { randomArray as drawArray } from "../../helpers/random.js";

const drawn = new Map<string, Float32Array>();

/** The same numbers many times over: each is drawn once. */
function randomArray(size: number, seed: number): Float32Array {
  const key = `${size} ${seed}`;
  const known = drawn.get(key);
  if (known !== undefined) return known;
  const values = drawArray(size, seed);
  drawn.set(key, values);
  return values;
}

export type Library = typeof layerwise & typeof checkpoint;

/** What the program has, by name; calls put things here when they have succeeded. */
export interface Holdings {
  readonly library: Library;
  /** The kernel that optimizers ask for; undefined: the default. */
  readonly kernel: layerwise.KernelName | undefined;
  readonly params: Map<string, layerwise.Parameter>;
  readonly optimizers: Map<string, layerwise.LARS>;
  saved: layerwise.StateDict | null;
  bytes: Uint8Array | null;
}

export interface Call {
  readonly name: string;
  /** What the caller does before, with its own arrays; it does not fail. */
  readonly prepare?: (holdings: Holdings) => void;
  /** The library's part. */
  readonly run: (holdings: Holdings) => void;
}

export function nothing(library: Library, kernel?: layerwise.KernelName): Holdings {
  return { library, kernel, params: new Map(), optimizers: new Map(), saved: null, bytes: null };
}

/** More than four chunks, for which threads are woken; the others are smaller, so that a run takes little time. */
const LARGE = 131_100;
const MEDIUM = 40_000;
const SMALL = 5000;

function allocate(name: string, size: number): Call {
  return {
    name: `allocate ${name}`,
    run: ({ library, params }) => {
      params.set(name, library.Parameter.allocate([size], { name }));
    },
  };
}

function wrap(name: string, size: number): Call {
  let data: Float32Array;
  return {
    name: `wrap ${name}`,
    prepare: () => {
      data = new Float32Array(size);
    },
    run: ({ library, params }) => {
      params.set(name, new library.Parameter(data, { name }));
    },
  };
}

function construct(
  name: string,
  layers: readonly string[],
  options: Partial<layerwise.LARSOptions>,
  threads: number,
): Call {
  return {
    name: `construct ${name}`,
    // The first optimizer's layers get their weights here; their values are the caller's.
    prepare: ({ params }) => {
      layers.forEach((layer, index) => {
        const { data, size } = params.get(layer)!;
        if (data[0] === 0) data.set(randomArray(size, index + 1));
      });
    },
    run: ({ library, kernel, params, optimizers }) => {
      const optimizer = new library.LARS(
        layers.map((layer) => params.get(layer)!),
        { lr: 0.1, momentum: 0.9, weightDecay: 1e-4, ...options },
        { threads, ...(kernel === undefined ? {} : { kernel }) },
      );
      optimizers.set(name, optimizer);
    },
  };
}

function step(name: string, count: number): Call {
  return {
    name: `step ${count} of ${name}`,
    prepare: ({ optimizers }) => {
      optimizers.get(name)!.paramGroups.forEach(({ params }) => {
        params.forEach((parameter, index) => {
          parameter.grad ??= new Float32Array(parameter.size);
          parameter.grad.set(randomArray(parameter.size, 100 * count + index));
        });
      });
    },
    run: ({ optimizers }) => {
      optimizers.get(name)!.step();
    },
  };
}

const layersInside = ["first", "second"];
const layers32 = ["inside", "outside", "small", "partly inside"];
const layers8 = ["inside 8", "outside 8", "partly inside 8"];

/** With the caller's gradient: such layers pass through the kernels' memory, and all staging areas are used. */
function allocatePartly(name: string): Call {
  const { run } = allocate(name, LARGE);
  return {
    name: `allocate ${name}`,
    run: (holdings) => {
      run(holdings);
      holdings.params.get(name)!.grad = new Float32Array(LARGE);
    },
  };
}

/** What is accumulated. */
const part = drawArray(MEDIUM, 77);
const ones = new Float32Array(LARGE).fill(1);

export const workload: readonly Call[] = [
  // First, when there is no staging area yet: all of it lies inside, until there is no room for its momentum.
  allocate("first", MEDIUM),
  allocate("second", MEDIUM),
  construct("inside only", layersInside, {}, 1),
  step("inside only", 9),
  step("inside only", 10),
  allocate("inside", LARGE),
  allocate("small", SMALL),
  wrap("outside", MEDIUM),
  allocatePartly("partly inside"),
  construct("32 bits", layers32, { percentileClipping: 50 }, 2),
  step("32 bits", 1),
  step("32 bits", 2),
  allocate("inside 8", MEDIUM),
  wrap("outside 8", LARGE),
  allocatePartly("partly inside 8"),
  construct("8 bits", layers8, { optimBits: 8 }, 1),
  step("8 bits", 3),
  step("8 bits", 4),
  {
    name: "step 5 of 32 bits, from now on with 8",
    prepare: (holdings) => {
      holdings.optimizers.get("32 bits")!.paramGroups[0]!.optimBits = 8;
      step("32 bits", 5).prepare?.(holdings);
    },
    run: step("32 bits", 5).run,
  },
  {
    name: "accumulate",
    run: ({ library, params }) => {
      library.accumulate(params.get("outside")!, part, 0.5);
    },
  },
  {
    name: "accumulate into no gradient",
    prepare: ({ params }) => {
      params.get("outside 8")!.grad = null;
    },
    run: ({ library, params }) => {
      library.accumulate(params.get("outside 8")!, ones, 0.5);
    },
  },
  {
    name: "save",
    run: (holdings) => {
      holdings.saved = holdings.optimizers.get("8 bits")!.stateDict();
    },
  },
  {
    name: "encode",
    run: (holdings) => {
      holdings.bytes = holdings.library.encodeCheckpoint(holdings.saved!);
    },
  },
  {
    name: "decode",
    run: (holdings) => {
      holdings.saved = holdings.library.decodeCheckpoint(holdings.bytes!);
    },
  },
  step("8 bits", 6),
  construct("new", layers8, { optimBits: 32 }, 1),
  {
    name: "load with 8 bits into 32",
    run: ({ optimizers, saved }) => {
      optimizers.get("new")!.loadStateDict(saved!);
    },
  },
  step("new", 7),
  {
    name: "load into the old one",
    run: ({ optimizers, saved }) => {
      optimizers.get("8 bits")!.loadStateDict(saved!);
    },
  },
  step("8 bits", 8),
];

/** What is given back at the end; none of it may fail. */
export const disposals: readonly Call[] = [
  ...["inside only", "32 bits", "8 bits", "new"].map((name) => ({
    name: `dispose of ${name}`,
    run: ({ optimizers }: Holdings) => {
      optimizers.get(name)!.dispose();
      optimizers.delete(name);
    },
  })),
  ...[...layersInside, ...layers32, ...layers8].map((name) => ({
    name: `dispose of ${name}`,
    run: ({ params }: Holdings) => {
      params.get(name)!.dispose();
      params.delete(name);
    },
  })),
];
