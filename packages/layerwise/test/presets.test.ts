/** What the presets stand for, and what may be laid over them. Their trajectories: vectors.test.ts, transcriptions.test.ts. */
import { describe, expect, it } from "vitest";
import { LARS, LARS32bit, LARS8bit, presets } from "../src/index.js";
import type { LARSOptions, PresetOverrides } from "../src/index.js";
import { parameterOf } from "./helpers/problem.js";

const lr = 0.1;

const scaleGradient = {
  rule: "scale-gradient",
  coefficient: 0.001,
  eps: 0,
  denominator: "sum",
  clip: false,
  momentumOrder: "classic",
  whenZero: "unit",
};
const overTorch = { ...scaleGradient, eps: 1e-8, momentumOrder: "torch" };

const expected: Record<keyof typeof presets, Record<string, unknown>> = {
  bitsandbytes: { trustRatio: { rule: "clip-update", maxUnorm: 0.02, whenZero: "freeze" } },
  paper: { momentum: 0.9, weightDecay: 0.0005, trustRatio: scaleGradient },
  timm: { trustRatio: overTorch },
  apexLARC: { trustRatio: { ...overTorch, coefficient: 0.02, clip: true } },
  optax: { momentum: 0.9, trustRatio: { ...scaleGradient, denominator: "joint" } },
  simclr: { momentum: 0.9, trustRatio: { ...scaleGradient, denominator: "joint" } },
  mlperf: { momentum: 0.9, weightDecay: 1e-4, trustRatio: { ...scaleGradient, eps: 1e-7 } },
  torchlars: { trustRatio: overTorch },
  paddle: { momentum: 0.9, weightDecay: 0.0005, trustRatio: scaleGradient },
};

const names = Object.keys(expected) as (keyof typeof presets)[];

describe("presets", () => {
  it("are those of the specification", () => {
    expect(Object.keys(presets).sort()).toEqual([...names].sort());
  });

  describe.each(names)("%s", (name) => {
    const preset = presets[name];

    it("gives the options of the implementation", () => {
      expect(preset({ lr })).toEqual({ lr, ...expected[name] });
      expect(preset()).toEqual(expected[name]);
    });

    it("goes into a constructor, and without lr into a group", () => {
      for (const Optimizer of [LARS, LARS8bit, LARS32bit]) {
        const [group] = new Optimizer([parameterOf([1])], preset({ lr })).paramGroups;
        expect(group!.trustRatio).toEqual(expected[name].trustRatio);
        expect(group!.momentum).toBe(expected[name].momentum ?? 0);
        const grouped = new Optimizer([{ params: [parameterOf([1])], ...preset() }], { lr: 0.5 });
        expect(grouped.paramGroups[0]!.trustRatio).toEqual(expected[name].trustRatio);
        expect(grouped.paramGroups[0]!.lr).toBe(0.5);
      }
    });

    it("lets overrides go before its own options", () => {
      const overrides = { lr, momentum: 0.5, weightDecay: 0.25, nesterov: true, skipZeros: true };
      expect(preset(overrides)).toEqual({ ...expected[name], ...overrides });
    });

    it("lays single fields of trustRatio over those of its rule", () => {
      const fields = { whenZero: "freeze" } as const;
      expect(preset({ lr, trustRatio: fields }).trustRatio).toEqual({
        ...(expected[name].trustRatio as object),
        ...fields,
      });
    });

    it("takes another rule, with that rule's defaults", () => {
      expect(preset({ lr, trustRatio: "scale-update" }).trustRatio).toEqual({
        rule: "scale-update",
        coefficient: 0.001,
        eps: 0,
        whenZero: "unit",
      });
      const none = preset({ lr, trustRatio: { rule: "none" } });
      expect(none.trustRatio).toEqual({ rule: "none" });
    });

    it("refuses fields that its rule has not, wrong values, and two rules at once", () => {
      const field = name === "bitsandbytes" ? "coefficient" : "maxUnorm";
      const unknown = { lr, trustRatio: { [field]: 0.1 } } as unknown as PresetOverrides;
      expect(() => preset(unknown)).toThrow(new RegExp(`unknown name "${field}"`));
      const wrong = { lr, trustRatio: { whenZero: "never" } } as unknown as PresetOverrides;
      expect(() => preset(wrong)).toThrow(/trustRatio\.whenZero: expected .*, got "never"/);
      expect(() => preset({ lr, maxUnorm: 0.1, trustRatio: { whenZero: "unit" } })).toThrow(
        /maxUnorm and trustRatio: expected one of them, got 0\.1/,
      );
    });

    it.each([[null], [3], ["lr"], [[0.1]], [new Map([["lr", 0.1]])]])("refuses %o", (wrong) => {
      const make = (): unknown => preset(wrong as unknown as PresetOverrides);
      expect(make).toThrow(TypeError);
      expect(make).toThrow(`presets.${name}: expected an object, got `);
    });

    it("refuses misspelt names", () => {
      const wrong = { lr, weightdecay: 0.1 } as unknown as PresetOverrides;
      expect(() => preset(wrong)).toThrow(TypeError);
      expect(() => preset(wrong)).toThrow(`presets.${name}: unknown name "weightdecay"`);
    });

    it("keeps its own options under overrides that are undefined", () => {
      const all = ["momentum", "weightDecay", "trustRatio", "maxUnorm", "args"];
      const overrides = Object.fromEntries(all.map((option) => [option, undefined]));
      expect(preset({ lr, ...overrides })).toEqual(preset({ lr }));
      const [group] = new LARS([parameterOf([1])], preset({ lr, ...overrides })).paramGroups;
      expect(group!.momentum).toBe(expected[name].momentum ?? 0);
    });

    it("gives a new object each time, and leaves the overrides as they are", () => {
      const overrides: PresetOverrides = { lr, trustRatio: { whenZero: "unit" } };
      const copy = structuredClone(overrides);
      const first = preset(overrides) as LARSOptions;
      first.momentum = 0.123;
      expect(preset(overrides)).not.toBe(first);
      expect((preset(overrides) as LARSOptions).momentum).not.toBe(0.123);
      expect(overrides).toEqual(copy);
    });
  });

  it("bitsandbytes keeps its rule for layers at zero under another maxUnorm", () => {
    expect(presets.bitsandbytes({ lr, maxUnorm: 0.5 }).trustRatio).toEqual({
      rule: "clip-update",
      maxUnorm: 0.5,
      whenZero: "freeze",
    });
  });

  it("with another rule, maxUnorm stands for clip-update", () => {
    expect(presets.timm({ lr, maxUnorm: 0.5 }).trustRatio).toEqual({
      rule: "clip-update",
      maxUnorm: 0.5,
      whenZero: "unit",
    });
  });
});
