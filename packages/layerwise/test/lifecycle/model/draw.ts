/** What fast-check draws commands from. */
import fc from "fast-check";
import { anyRule, between } from "../../helpers/arbitraries.js";
import type { Command, Values } from "./command.js";
import type { WorldOptions } from "./world.js";

/** Mostly small; some pass a block of codes, a chunk of 32,768 elements, or the 0.4 MB from which memory grows. */
const size = fc.oneof(
  { arbitrary: fc.integer({ min: 1, max: 600 }), weight: 60 },
  { arbitrary: fc.constantFrom(1, 2, 255, 256, 257, 512), weight: 24 },
  { arbitrary: fc.integer({ min: 4000, max: 9000 }), weight: 10 },
  { arbitrary: fc.constantFrom(32_768, 32_769, 40_000), weight: 3 },
  { arbitrary: fc.constantFrom(100_000, 131_073), weight: 1 },
);

const values: fc.Arbitrary<Values> = fc.record({
  seed: fc.integer({ min: 0, max: 2 ** 20 }),
  scale: fc.constantFrom(1, 1, 0.01, 30),
  zeros: fc.constantFrom(0, 0, 0.3, 0.95),
});

/** Weights that are not all zero, as layers have. */
const weights = values.map((drawn) => ({ ...drawn, zeros: Math.min(drawn.zeros, 0.3) }));

const pick = fc.nat({ max: 30 });
const picks = fc.array(pick, { minLength: 1, maxLength: 4 });
const rarely = fc.nat({ max: 15 }).map((n) => n === 0);

const option = {
  lr: fc.oneof(between(0.001, 1), fc.record({ base: between(0.01, 1), decay: between(0, 1) })),
  momentum: fc.constantFrom(0, 0.5, 0.9, 0.9, 0.9),
  dampening: fc.constantFrom(0, 0, 0, 0.3),
  weightDecay: fc.constantFrom(0, 1e-4, 0.05),
  nesterov: fc.constantFrom(false, false, true),
  optimBits: fc.constantFrom(8 as const, 32 as const),
  min8bitSize: fc.constantFrom(0, 1, 300, 4096, 4096),
  percentileClipping: fc.constantFrom(100, 100, 50, 5, 99),
  trustRatio: anyRule,
  maxGradNorm: fc.constantFrom(null, null, 1, 50),
  skipZeros: fc.constantFrom(false, false, true),
  nonFinite: fc.constantFrom("throw" as const, "skip" as const),
};

const options: fc.Arbitrary<WorldOptions> = fc.record(option).map((drawn) => {
  // Mostly what may stand together; single changes and groups make the other combinations.
  const nesterov = drawn.nesterov && drawn.momentum > 0;
  const { trustRatio: rule } = drawn;
  const isClassic = rule.rule === "scale-gradient" && rule.momentumOrder === "classic";
  return { ...drawn, nesterov, dampening: nesterov || isClassic ? 0 : drawn.dampening };
});

/** One to three options. */
const someOptions: fc.Arbitrary<Partial<WorldOptions>> = fc
  .tuple(fc.subarray(Object.keys(option) as (keyof WorldOptions)[], { maxLength: 3 }), options)
  .map(([names, drawn]) => Object.fromEntries(names.map((name) => [name, drawn[name]])));

const change: fc.Arbitrary<Partial<WorldOptions>> = fc.oneof(
  ...Object.entries(option).map(([name, arbitrary]) =>
    (arbitrary as fc.Arbitrary<unknown>).map((value) => ({ [name]: value })),
  ),
);

const wrong = fc.constantFrom(
  ...([
    ["lr", -1],
    ["lr", Number.NaN],
    ["lr", "0.1"],
    ["momentum", 1],
    ["momentum", -0.1],
    ["dampening", 1],
    ["weightDecay", Infinity],
    ["nesterov", 1],
    ["optimBits", 16],
    ["min8bitSize", 0.5],
    ["percentileClipping", 0],
    ["percentileClipping", 101],
    ["trustRatio", { rule: "none", eps: 1 }],
    ["trustRatio", "lars"],
    ["maxUnorm", -1],
    ["maxGradNorm", 0],
    ["skipZeros", null],
    ["nonFinite", "ignore"],
  ] as const),
);

const kind = <Kind extends Command["kind"]>(value: Kind): fc.Arbitrary<Kind> => fc.constant(value);

const optimizer = pick;
const group = pick;

interface Weighted {
  kind: Command["kind"];
  arbitrary: fc.Arbitrary<Command>;
  weight: number;
}

/** The commands, each with how often it is drawn. */
export const weighted: readonly Weighted[] = [
  {
    kind: "allocate",
    weight: 6,
    arbitrary: fc.record({
      ...{ kind: kind("allocate"), size, isNamed: fc.boolean(), values: weights },
    }),
  },
  {
    kind: "wrap",
    weight: 6,
    arbitrary: fc.record({
      ...{ kind: kind("wrap"), size, isNamed: fc.boolean(), values: weights },
      origin: fc.constantFrom("plain" as const, "subarray" as const, "resizable" as const),
    }),
  },
  {
    kind: "tie",
    weight: 2,
    arbitrary: fc.record({ kind: kind("tie"), pick, isNamed: fc.boolean() }),
  },
  {
    kind: "construct",
    weight: 10,
    arbitrary: fc.record({
      ...{ kind: kind("construct"), picks, options, isTwice: rarely },
      className: fc.constantFrom("LARS" as const, "LARS8bit" as const, "LARS32bit" as const),
      second: fc.oneof(fc.constant(null), someOptions),
    }),
  },
  {
    kind: "addGroup",
    weight: 3,
    arbitrary: fc.record({
      ...{ kind: kind("addGroup"), optimizer, picks, isTwice: rarely, options: someOptions },
    }),
  },
  {
    kind: "setGradient",
    weight: 5,
    arbitrary: fc.record({
      ...{ kind: kind("setGradient"), pick, values },
      way: fc.constantFrom("fill", "own", "original", "shared", "null"),
    }),
  },
  {
    kind: "step",
    weight: 30,
    arbitrary: fc.record({
      ...{ kind: kind("step"), optimizer },
      values: fc.oneof(
        { arbitrary: values, weight: 5 },
        { arbitrary: fc.constant(null), weight: 1 },
      ),
      gradScale: fc.constantFrom(1, 1, 1 / 1024),
    }),
  },
  {
    kind: "nonFinite",
    weight: 3,
    arbitrary: fc.record({
      ...{ kind: kind("nonFinite"), optimizer, layer: pick, at: fc.nat({ max: 200_000 }) },
      value: fc.constantFrom(Number.NaN, Infinity, -Infinity),
    }),
  },
  {
    kind: "setOption",
    weight: 6,
    arbitrary: fc.record({ kind: kind("setOption"), optimizer, group, change }),
  },
  {
    kind: "wrongOption",
    weight: 2,
    arbitrary: fc
      .tuple(optimizer, group, wrong)
      .map(([optimizerPick, groupPick, [name, value]]) => ({
        ...{ kind: "wrongOption" as const, optimizer: optimizerPick, group: groupPick },
        ...{ option: name, value },
      })),
  },
  {
    kind: "save",
    weight: 5,
    arbitrary: fc.record({ kind: kind("save"), optimizer, asBytes: fc.boolean() }),
  },
  {
    kind: "loadOld",
    weight: 4,
    arbitrary: fc.record({ kind: kind("loadOld"), optimizer, save: pick }),
  },
  {
    kind: "loadNew",
    weight: 3,
    arbitrary: fc.record({ kind: kind("loadNew"), save: pick, isAllocated: fc.boolean() }),
  },
  {
    kind: "disposeParameter",
    weight: 3,
    arbitrary: fc.record({ kind: kind("disposeParameter"), pick }),
  },
  {
    kind: "disposeOptimizer",
    weight: 2,
    arbitrary: fc.record({ kind: kind("disposeOptimizer"), optimizer }),
  },
  {
    kind: "resize",
    weight: 3,
    arbitrary: fc.record({
      ...{ kind: kind("resize"), pick, to: fc.constantFrom("shrink" as const, "grow" as const) },
    }),
  },
  { kind: "detach", weight: 1, arbitrary: fc.record({ kind: kind("detach"), pick }) },
  {
    kind: "spoilGradient",
    weight: 2,
    arbitrary: fc.record({
      ...{ kind: kind("spoilGradient"), pick },
      how: fc.constantFrom("shrink", "grow", "detach", "length", "type"),
    }),
  },
  {
    kind: "accumulate",
    weight: 3,
    arbitrary: fc.record({
      ...{ kind: kind("accumulate"), pick, values, factor: fc.constantFrom(1, 0.25, -1 / 3) },
    }),
  },
  {
    kind: "wrongAccumulate",
    weight: 1,
    arbitrary: fc.record({
      ...{ kind: kind("wrongAccumulate"), pick },
      how: fc.constantFrom("length", "type", "scale", "grad length", "grad type"),
    }),
  },
  { kind: "zeroGrad", weight: 1, arbitrary: fc.record({ kind: kind("zeroGrad"), optimizer }) },
];

/** Commands of these kinds. */
export function oneOf(...kinds: Command["kind"][]): fc.Arbitrary<Command> {
  return fc.oneof(...weighted.filter((entry) => kinds.includes(entry.kind)));
}

/** Up to so many commands of all kinds. */
export function commandsOf(maxLength: number): fc.Arbitrary<Command[]> {
  return fc.array(fc.oneof(...weighted), { maxLength, size: "max" });
}
