/** Programs of data-parallel training, as fast-check draws them. */
import fc from "fast-check";
import { CHUNK_SIZE } from "../../../src/kernels/kernel.js";
import { anyRule, anySize, between, optionsWith } from "../../helpers/arbitraries.js";
import type { Command, CreateSpec, GradientSpec, GroupSpec, LayerSpec } from "./program.js";

/** Layers that a program has at most, those of added groups included. */
const MOST_LAYERS = 8;

const powerOfTen = fc.integer({ min: -2, max: 2 }).map((exponent) => 10 ** exponent);

let names = 0;

function layerOf(size: fc.Arbitrary<number>): fc.Arbitrary<LayerSpec> {
  return fc.record({
    name: fc.boolean().map((isNamed) => (isNamed ? "named" : null)),
    size,
    seed: fc.nat(1e6),
    scale: powerOfTen,
    isAllocated: fc.boolean(),
  });
}

/** Sizes at which layers are cut into one chunk, two, or a few: at those, and beside them. */
export const sizeAroundChunks = fc.oneof(
  fc.integer({ min: 1, max: 700 }),
  fc
    .tuple(fc.integer({ min: 1, max: 4 }), fc.constantFrom(-1, 0, 1, 300))
    .map(([chunks, more]) => chunks * CHUNK_SIZE + more),
);

/** Names that occur once: checkpoints match by them. */
function withOwnNames(group: GroupSpec): GroupSpec {
  const layers = group.layers.map((layer) => ({
    ...layer,
    name: layer.name === null ? null : `layer ${names++}`,
  }));
  return { ...group, layers };
}

const anyOptions = fc
  .tuple(
    optionsWith(anyRule),
    fc.constantFrom("throw" as const, "skip" as const),
    fc.constantFrom(300, 4096),
  )
  .map(([options, nonFinite, min8bitSize]) => ({ ...options, nonFinite, min8bitSize }));

function groupOf(mostLayers: number, size: fc.Arbitrary<number>): fc.Arbitrary<GroupSpec> {
  return fc
    .record({
      layers: fc.array(layerOf(size), { minLength: 1, maxLength: mostLayers }),
      options: fc.oneof(
        fc.constant({}),
        fc.record({ lr: between(1e-4, 2), weightDecay: between(0, 0.1) }),
      ),
    })
    .map(withOwnNames);
}

function createWith(size: fc.Arbitrary<number>): fc.Arbitrary<Command> {
  return fc
    .record({
      kind: fc.constant("create" as const),
      className: fc.constantFrom<CreateSpec["className"]>("LARS", "LARS8bit", "LARS32bit"),
      kernel: fc.constantFrom<CreateSpec["kernel"]>("wasm", "wasm", "reference"),
      groups: fc.array(groupOf(2, size), { minLength: 1, maxLength: 2 }),
      options: anyOptions,
      parallel: fc.record({
        gradients: fc.constantFrom("mean" as const, "sum" as const),
        checkEvery: fc.constantFrom(0, 1, 2, 100),
        bucketBytes: fc.constantFrom(1, 4000, 100_000, 2 ** 24),
      }),
    })
    .map((create) => create satisfies Command);
}

/** Most gradients are there; a step with a fault is one of few, and has one kind of it. */
function gradientOf(isWhole: boolean, fault: "NaN" | "short" | null): fc.Arbitrary<GradientSpec> {
  const values = fc.record({
    seed: fc.nat(1e6),
    scale: powerOfTen,
    zeros: fc.constantFrom(0, 0, 0.3, 1),
    isWhole: fc.constant(isWhole),
  });
  return fc.oneof(
    { arbitrary: values, weight: 12 },
    { arbitrary: fc.constant(null), weight: 2 },
    { arbitrary: fc.constant(fault), weight: 2 },
  );
}

function stepOf(size: number): fc.Arbitrary<Command> {
  const isWhole = (size & (size - 1)) !== 0;
  const announced = fc.oneof(
    fc.constant(null),
    fc.record({ seed: fc.nat(1e6), isAll: fc.boolean() }),
  );
  const stepWith = (fault: "NaN" | "short" | null): fc.Arbitrary<Command> =>
    fc.record({
      kind: fc.constant("step" as const),
      gradients: fc.array(
        fc.array(gradientOf(isWhole, fault), { minLength: MOST_LAYERS, maxLength: MOST_LAYERS }),
        { minLength: size, maxLength: size },
      ),
      gradScale: fc.constantFrom(1, 1, 0.25, 0.3),
      announced: fc.array(announced, { minLength: size, maxLength: size }),
    });
  return fc.oneof(
    { arbitrary: stepWith(null), weight: 6 },
    { arbitrary: stepWith("NaN"), weight: 2 },
    { arbitrary: stepWith("short"), weight: 1 },
  );
}

/** A live option: on one rank, where it makes the next step fail, then on all. */
function changesOf(size: number): fc.Arbitrary<Command[]> {
  const option = fc.oneof(
    fc.record({
      name: fc.constant("lr" as const),
      value: fc.oneof(between(1e-4, 1), fc.constant(-1)),
    }),
    fc.record({ name: fc.constant("weightDecay" as const), value: between(0, 0.1) }),
    fc.record({ name: fc.constant("maxGradNorm" as const), value: fc.constantFrom(null, 0.5) }),
    fc.record({ name: fc.constant("skipZeros" as const), value: fc.boolean() }),
    fc.record({ name: fc.constant("nonFinite" as const), value: fc.constantFrom("throw", "skip") }),
    fc.record({ name: fc.constant("optimBits" as const), value: fc.constantFrom(8, 32) }),
  );
  return fc
    .tuple(option, fc.nat(2), fc.nat(size - 1), fc.boolean(), stepOf(size))
    .map(([{ name, value }, group, rank, isOnAll, step]) => {
      const set = { kind: "set" as const, group, name, value };
      if (isOnAll) return [{ ...set, rank: null }, step];
      const good = name === "lr" ? 0.1 : value;
      return [{ ...set, rank }, step, { ...set, value: good, rank: null }];
    });
}

/** A group on all ranks, or on one, where it makes the next step fail, and then on the others. */
function additionsOf(size: number, ofLayers: fc.Arbitrary<number>): fc.Arbitrary<Command[]> {
  return fc
    .tuple(groupOf(1, ofLayers), fc.option(fc.nat(size - 1)), stepOf(size))
    .map(([group, first, step]) => {
      if (first === null) return [{ kind: "add" as const, rank: null, group }];
      const others = Array.from({ length: size }, (_, rank) => rank).filter((r) => r !== first);
      return [
        { kind: "add" as const, rank: first, group },
        step,
        ...others.map((rank) => ({ kind: "add" as const, rank, group })),
      ];
    });
}

const anyLoad: fc.Arbitrary<Command> = fc.record({
  kind: fc.constant("load" as const),
  isNew: fc.boolean(),
  isOnAll: fc.boolean(),
});

const check: Command = { kind: "check" };

/** Weights that differ on one rank are found, and made good. */
function corruptionsOf(size: number): fc.Arbitrary<Command[]> {
  return fc
    .tuple(fc.nat(size - 1), fc.nat(1), anyLoad)
    .map(([rank, layer, load]) => [
      { kind: "save" as const },
      { kind: "corrupt" as const, rank, layer: layer % 1 },
      check,
      load,
    ]);
}

/**
 * Programs for a number of processes.
 *
 * @param ofLayers sizes of layers
 */
export function programsOf(
  size: number,
  mostParts: number,
  ofLayers = anySize,
): fc.Arbitrary<Command[]> {
  const one = (command: fc.Arbitrary<Command>): fc.Arbitrary<Command[]> =>
    command.map((only) => [only]);
  const part = fc.oneof(
    { arbitrary: one(stepOf(size)), weight: 8 },
    { arbitrary: one(fc.constant({ kind: "save" as const })), weight: 2 },
    { arbitrary: one(anyLoad), weight: 2 },
    { arbitrary: one(fc.constant(check)), weight: 1 },
    { arbitrary: changesOf(size), weight: 2 },
    { arbitrary: additionsOf(size, ofLayers), weight: 1 },
    { arbitrary: corruptionsOf(size), weight: 1 },
  );
  return fc
    .tuple(createWith(ofLayers), fc.array(part, { minLength: 1, maxLength: mostParts }))
    .map(([create, parts]) => [create, ...parts.flat()].filter(hasRoom()));
}

/** The same by ShardedLARS. Groups are added on all ranks at once: that is a call of all. */
export function sharded(command: Command): Command {
  if (command.kind === "create") return { ...command, isSharded: true };
  return command.kind === "add" ? { ...command, rank: null } : command;
}

/** Leaves out groups beyond the layers that steps have gradients for. */
function hasRoom(): (command: Command) => boolean {
  let layers = 0;
  const counted = new Set<GroupSpec>();
  return (command) => {
    const groups =
      command.kind === "create" ? command.groups : command.kind === "add" ? [command.group] : [];
    const added = groups
      .filter((group) => !counted.has(group))
      .flatMap((group) => group.layers).length;
    if (layers + added > MOST_LAYERS) return false;
    for (const group of groups) counted.add(group);
    layers += added;
    return true;
  };
}
