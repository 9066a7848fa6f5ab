/** What the type checker allows, and what it refuses. */
import { describe, expectTypeOf, it } from "vitest";
import type { Checkpoint } from "../src/checkpoint.js";
import { decodeCheckpoint, encodeCheckpoint } from "../src/checkpoint.js";
import {
  excludeFromAdaptation,
  LARS,
  LARS8bit,
  Parameter,
  presets,
  schedules,
} from "../src/index.js";
import type * as library from "../src/index.js";
import type {
  AllocatedParameter,
  BlockwiseMomentum,
  Float32Momentum,
  LARSOptions,
  LayerReport,
  LoadReport,
  Momentum,
  ParamGroup,
  ParamGroupOptions,
  Schedule,
  StateDict,
  StepReport,
  TrustRatio,
  TrustRatioOption,
  LARS32bit,
} from "../src/index.js";
import type { QuantizedBlocks } from "../src/quantization.js";
import { createDynamicMap, dequantizeBlockwise, quantizeBlockwise } from "../src/quantization.js";

const params = [Parameter.allocate([1])];

describe("parameters", () => {
  it("that are allocated have a gradient; others may have none", () => {
    expectTypeOf(Parameter.allocate([1])).toEqualTypeOf<AllocatedParameter>();
    expectTypeOf<AllocatedParameter["grad"]>().toEqualTypeOf<Float32Array>();
    expectTypeOf<AllocatedParameter>().toExtend<Parameter>();
    expectTypeOf<Parameter["grad"]>().toEqualTypeOf<Float32Array | null>();
    const { grad } = new Parameter(new Float32Array(1));
    // @ts-expect-error there may be none
    grad.fill(0);
    Parameter.allocate([1]).grad.fill(0);
    Parameter.allocate([1]).grad = null;
  });

  it("take a name and a shape", () => {
    // @ts-expect-error options are an object
    new Parameter(new Float32Array(1), "w");
    // @ts-expect-error no such option
    new Parameter(new Float32Array(1), { nmae: "w" });
    // @ts-expect-error no such option
    Parameter.allocate([1], { nmae: "w" });
    // @ts-expect-error a shape is a list
    Parameter.allocate(10);
  });
});

describe("options", () => {
  it("need lr, and nothing else", () => {
    expectTypeOf<{ lr: number }>().toExtend<LARSOptions>();
    expectTypeOf<object>().not.toExtend<LARSOptions>();
    expectTypeOf<LARSOptions["lr"]>().toEqualTypeOf<number | Schedule>();
    // @ts-expect-error lr is missing
    new LARS(params, { momentum: 0.9 });
  });

  it("have literal types", () => {
    expectTypeOf<LARSOptions["optimBits"]>().toEqualTypeOf<8 | 32 | undefined>();
    expectTypeOf<LARSOptions["nonFinite"]>().toEqualTypeOf<"throw" | "skip" | undefined>();
    expectTypeOf<LARSOptions["maxGradNorm"]>().toEqualTypeOf<number | null | undefined>();
    // @ts-expect-error bits are 8 or 32
    new LARS(params, { lr: 1, optimBits: 16 });
    // @ts-expect-error no such policy
    new LARS(params, { lr: 1, nonFinite: "ignore" });
    // @ts-expect-error no such option
    new LARS(params, { lr: 1, learningRate: 1 });
    // @ts-expect-error lr is a number or a schedule
    new LARS(params, { lr: "0.1" });
    // @ts-expect-error no such name among args
    new LARS(params, { lr: 1, args: { lr: 2 } });
  });

  it("take a rule by name or with some of its own fields", () => {
    expectTypeOf<"none">().toExtend<TrustRatioOption>();
    expectTypeOf<{ rule: "clip-update"; maxUnorm: number }>().toExtend<TrustRatioOption>();
    expectTypeOf<{ rule: "scale-gradient"; denominator: "joint" }>().toExtend<TrustRatioOption>();
    expectTypeOf<{ rule: "scale-update"; eps: number }>().toExtend<TrustRatioOption>();
    expectTypeOf<TrustRatio>().toExtend<TrustRatioOption>();
    // @ts-expect-error no such rule
    new LARS(params, { lr: 1, trustRatio: "lars" });
    // @ts-expect-error a field of another rule
    new LARS(params, { lr: 1, trustRatio: { rule: "clip-update", coefficient: 1 } });
    // @ts-expect-error no such denominator
    new LARS(params, { lr: 1, trustRatio: { rule: "scale-gradient", denominator: "max" } });
    // @ts-expect-error no such order
    new LARS(params, { lr: 1, trustRatio: { rule: "scale-gradient", momentumOrder: "mine" } });
    // @ts-expect-error no such choice
    new LARS(params, { lr: 1, trustRatio: { rule: "scale-update", whenZero: "never" } });
    // @ts-expect-error which rule?
    new LARS(params, { lr: 1, trustRatio: { coefficient: 1 } });
  });

  it("of groups are all optional, params are not", () => {
    expectTypeOf<{ params: Parameter[] }>().toExtend<ParamGroupOptions>();
    expectTypeOf<{ lr: number }>().not.toExtend<ParamGroupOptions>();
    expectTypeOf<ParamGroupOptions["weightDecay"]>().toEqualTypeOf<number | undefined>();
    // @ts-expect-error params or groups, not both
    new LARS([params[0], { params }], { lr: 1 });
  });

  it("of kernels and steps", () => {
    // @ts-expect-error no such kernel
    new LARS(params, { lr: 1 }, { kernel: "cuda" });
    const optimizer = new LARS(params, { lr: 1 }, { kernel: "reference" });
    // @ts-expect-error no such option
    optimizer.step({ scale: 1 });
    expectTypeOf<LARS["step"]>().parameter(0).toEqualTypeOf<{ gradScale?: number } | undefined>();
  });
});

describe("the optimizer", () => {
  const optimizer = new LARS8bit(params, { lr: 1 });

  it("is LARS with one option fixed", () => {
    expectTypeOf<LARS8bit>().toExtend<LARS>();
    expectTypeOf<LARS32bit>().toExtend<LARS>();
  });

  it("reports", () => {
    expectTypeOf(optimizer.step()).toEqualTypeOf<StepReport>();
    expectTypeOf<StepReport["layers"]>().toEqualTypeOf<LayerReport[]>();
    expectTypeOf<Omit<StepReport, "layers">>().toEqualTypeOf<{
      step: number;
      lr: number;
      skipped: boolean;
      gradNorm: number;
    }>();
    expectTypeOf<LayerReport>().toEqualTypeOf<{
      name: string;
      weightNorm: number;
      gradNorm: number;
      updateNorm: number;
      trustRatio: number;
      clipScale: number;
    }>();
    expectTypeOf(optimizer.stateBytes).toBeNumber();
  });

  it("saves and loads", () => {
    expectTypeOf(optimizer.stateDict()).toEqualTypeOf<StateDict>();
    expectTypeOf<LARS["loadStateDict"]>().parameter(0).toEqualTypeOf<StateDict>();
    expectTypeOf<LARS["loadStateDict"]>().returns.toEqualTypeOf<LoadReport>();
    expectTypeOf<StateDict["layers"][number]["momentum"]>().toEqualTypeOf<Momentum | null>();
    expectTypeOf<Extract<Momentum, { kind: "float32" }>>().toEqualTypeOf<Float32Momentum>();
    expectTypeOf<Extract<Momentum, { kind: "blockwise" }>>().toEqualTypeOf<BlockwiseMomentum>();
  });

  it("has live groups that can't be replaced", () => {
    const group = optimizer.paramGroups[0]!;
    expectTypeOf(group).toEqualTypeOf<ParamGroup>();
    group.lr = (step) => 1 / (step + 1);
    group.maxUnorm = 0.1;
    group.trustRatio = "none";
    group.trustRatio = { rule: "scale-update", eps: 1 };
    // @ts-expect-error bits are 8 or 32
    group.optimBits = 16;
    // @ts-expect-error no such rule
    group.trustRatio = "lars";
    // @ts-expect-error the list is read only
    optimizer.paramGroups[0] = group;
    // @ts-expect-error so are a group's parameters
    group.params = [];
  });
});

describe("parameters", () => {
  it("have fixed arrays of weights, and a gradient that can be set", () => {
    const parameter = Parameter.allocate([2, 3], { name: "w" });
    expectTypeOf(parameter.data).toExtend<Float32Array>();
    expectTypeOf(parameter.grad).toExtend<Float32Array | null>();
    expectTypeOf(parameter.shape).toEqualTypeOf<readonly number[]>();
    expectTypeOf(parameter.name).toEqualTypeOf<string | undefined>();
    parameter.grad = null;
    // @ts-expect-error data is read only
    parameter.data = new Float32Array(6);
    // @ts-expect-error data is a Float32Array
    new Parameter([1, 2]);
  });

  it("go into groups", () => {
    expectTypeOf(excludeFromAdaptation(params)).toEqualTypeOf<ParamGroupOptions[]>();
    expectTypeOf(excludeFromAdaptation)
      .parameter(1)
      .toEqualTypeOf<((parameter: Parameter) => boolean) | undefined>();
  });
});

describe("presets and schedules", () => {
  it("presets are complete options with lr, and options of a group without", () => {
    expectTypeOf(presets.timm({ lr: 1 })).toExtend<LARSOptions>();
    expectTypeOf(presets.timm()).not.toExtend<LARSOptions>();
    new LARS([{ params, ...presets.timm() }], { lr: 1 });
    // @ts-expect-error no such field
    presets.bitsandbytes({ lr: 1, trustRatio: { coefficients: 1 } });
    // @ts-expect-error no such option
    presets.paper({ lr: 1, max_unorm: 1 });
  });

  it("schedules are functions of the step", () => {
    expectTypeOf<Schedule>().toEqualTypeOf<(step: number) => number>();
    expectTypeOf(schedules.cosine).returns.toEqualTypeOf<Schedule>();
    expectTypeOf(schedules.linearBatchScaling).returns.toBeNumber();
    // @ts-expect-error steps are missing
    schedules.warmup({ peak: 1 });
  });
});

describe("quantisation and checkpoints", () => {
  it("have the types that go into each other", () => {
    expectTypeOf(quantizeBlockwise).toEqualTypeOf<(values: Float32Array) => QuantizedBlocks>();
    expectTypeOf(dequantizeBlockwise).parameter(0).toEqualTypeOf<QuantizedBlocks>();
    expectTypeOf(dequantizeBlockwise).returns.toExtend<Float32Array>();
    expectTypeOf(createDynamicMap()).toExtend<Float32Array>();
    expectTypeOf<BlockwiseMomentum>().toExtend<QuantizedBlocks>();
    expectTypeOf(encodeCheckpoint).parameter(0).toEqualTypeOf<StateDict>();
    expectTypeOf(encodeCheckpoint).returns.toExtend<Uint8Array>();
    expectTypeOf(decodeCheckpoint).parameter(0).toExtend<Uint8Array>();
    expectTypeOf(decodeCheckpoint).returns.toEqualTypeOf<Checkpoint>();
    expectTypeOf<Checkpoint>().toExtend<StateDict>();
  });
});

/** Names of members that are `any`, or that take or give `any`. */
type AnyMembers<T> = {
  [Name in keyof T]-?: 0 extends 1 & T[Name]
    ? Name
    : T[Name] extends (...args: infer Args) => infer Result
      ? 0 extends 1 & Result
        ? Name
        : 0 extends 1 & Args[number]
          ? Name
          : never
      : never;
}[keyof T];

describe("nothing is any", () => {
  it("among the public names, their members and options", () => {
    expectTypeOf<AnyMembers<typeof library>>().toBeNever();
    expectTypeOf<AnyMembers<typeof library.presets>>().toBeNever();
    expectTypeOf<AnyMembers<typeof library.schedules>>().toBeNever();
    expectTypeOf<AnyMembers<LARS>>().toBeNever();
    expectTypeOf<AnyMembers<Parameter>>().toBeNever();
    expectTypeOf<AnyMembers<ParamGroup>>().toBeNever();
    expectTypeOf<AnyMembers<LARSOptions>>().toBeNever();
    expectTypeOf<AnyMembers<ParamGroupOptions>>().toBeNever();
    expectTypeOf<AnyMembers<StepReport>>().toBeNever();
    expectTypeOf<AnyMembers<LayerReport>>().toBeNever();
    expectTypeOf<AnyMembers<StateDict["layers"][number]>>().toBeNever();
    expectTypeOf<AnyMembers<Checkpoint>>().toBeNever();
    // The probe finds what it looks for.
    expectTypeOf<AnyMembers<{ a: any; b: 1 }>>().toEqualTypeOf<"a">(); // eslint-disable-line @typescript-eslint/no-explicit-any
    expectTypeOf<AnyMembers<typeof JSON>>().toEqualTypeOf<"parse" | "stringify">();
  });
});
