/**
 * Update rules of references that no trajectory in vectors/ covers, transcribed from their sources in
 * float64 (docs/references.md names the files), against the presets and options said to reproduce them.
 * A transcription shows that the options mean the rule as it was read; it can't show a misreading.
 */
import { describe, expect, it } from "vitest";
import { LARS, Parameter, presets } from "../src/index.js";
import type { LARSOptions } from "../src/index.js";
import { forEachKernel } from "./helpers/kernels.js";
import { normOf, relativeDifference } from "./helpers/numbers.js";

/** One step of one layer; `state` holds what the rule keeps between steps, empty at first. */
type Rule = (w: Vector, g: Vector, rate: number, state: { v?: Vector }) => Vector;
type Vector = readonly number[];

const STEPS = 10;
/** The rate changes: the orders of momentum differ only then. */
const lr = (step: number): number => 0.1 * (step + 1);

/** a·x + b·y */
function combine(a: number, x: Vector, b: number, y: Vector): Vector {
  return x.map((value, index) => a * value + b * y[index]!);
}

const zeros = (like: Vector): Vector => like.map(() => 0);

/** Small pseudo-random numbers; no test here depends on which. */
function* noise(): Generator<number, never> {
  let bits = 7;
  for (;;) {
    bits = (Math.imul(bits, 1103515245) + 12345) >>> 1;
    yield (bits / 2 ** 30 - 1) / 2;
  }
}

function vector(source: Generator<number, never>, length: number): Vector {
  return Array.from({ length }, () => Math.fround(source.next().value));
}

/** η‖w‖ / denominator, or 1 where a norm is zero. */
function ratio(coefficient: number, w: Vector, update: Vector, denominator: number): number {
  return normOf(w) > 0 && normOf(update) > 0 ? (coefficient * normOf(w)) / denominator : 1;
}

/** The paper, MLPerf, Paddle and MXNet's unfused step: they differ in λ, ε and where λ is needed. */
function sumOfNorms({ decay, eps, nesterov }: { decay: number; eps: number; nesterov?: boolean }) {
  return ((w, g, rate, state) => {
    const r = ratio(0.001, w, g, normOf(g) + decay * normOf(w) + eps);
    const step = combine(rate * r, g, rate * r * decay, w);
    state.v = combine(0.9, state.v ?? zeros(w), 1, step);
    return combine(1, w, -1, nesterov ? combine(0.9, state.v, 1, step) : state.v);
  }) satisfies Rule;
}

function simclr(classicMomentum: boolean, nesterov: boolean): Rule {
  return (w, gradient, rate, state) => {
    const g = combine(1, gradient, 1e-6, w);
    const v = state.v ?? zeros(w);
    const scaled = classicMomentum ? combine(rate * ratio(0.001, w, g, normOf(g)), g, 0, g) : g;
    state.v = combine(0.9, v, 1, scaled);
    const update = nesterov ? combine(0.9, state.v, 1, scaled) : state.v;
    if (classicMomentum) return combine(1, w, -1, update);
    return combine(1, w, -rate * ratio(0.001, w, update, normOf(update)), update);
  };
}

/**
 * Scaled gradients, and then torch.optim.SGD: torchlars, MAE, Barlow Twins, MoCo v3, VICReg, lightly and solo-learn.
 * They differ in the denominator, and in whether r is clipped.
 */
function overTorchSGD(
  denominator: (w: Vector, g: Vector, d: Vector) => number,
  { decay, nesterov = false, clip = false }: { decay: number; nesterov?: boolean; clip?: boolean },
): Rule {
  return (w, g, rate, state) => {
    const d = combine(1, g, decay, w);
    const isAdapted = normOf(w) > 0 && normOf(g) > 0;
    const unclipped = ratio(0.001, w, g, denominator(w, g, d));
    const r = clip && isAdapted ? Math.min(unclipped / rate, 1) : unclipped;
    state.v = state.v === undefined ? combine(r, d, 0, d) : combine(0.9, state.v, r, d);
    return combine(1, w, -rate, nesterov ? combine(r, d, 0.9, state.v) : state.v);
  };
}

/** Chainer's GradientLARS before MomentumSGD: no coefficient; layers with ‖w‖ ≤ 0.01 are left unscaled. */
const chainer: Rule = (w, g, rate, state) => {
  const decay = 0.01;
  const r = normOf(w) > 1e-2 ? normOf(w) / (1e-9 + normOf(g) + decay * normOf(w)) : 1;
  state.v = combine(0.9, state.v ?? zeros(w), -rate * r, combine(1, g, decay, w));
  return combine(1, w, 1, state.v);
};

/** MXNet's LBSGD with warmup_strategy "lars": √(‖w‖² / (‖g‖² + λ‖w‖²)), kept within 0.01 and 100. */
function lbsgd(decay: number): Rule {
  return (w, g, rate, state) => {
    const [weights, gradients] = [normOf(w) ** 2, normOf(g) ** 2];
    const unlimited = Math.sqrt(weights / (gradients + decay * weights + 1e-18));
    const r = Math.min(100, Math.max(0.01, unlimited));
    state.v = combine(0.9, state.v ?? zeros(w), -rate * r, combine(1, g, decay, w));
    return combine(1, w, 1, state.v);
  };
}

/**
 * kozistr's pytorch_optimizer: the first momentum is a clone of the gradient, to which the first step adds. Up to
 * 3.5 the clone is of the scaled gradient, from 3.6 on of the gradient as it came.
 */
function kozistr(clone: "scaled" | "raw", dampening: number): Rule {
  return (w, g, rate, state) => {
    const r = ratio(0.001, w, g, normOf(g));
    const d = combine(r, g, r * 0.01, w);
    state.v = combine(0.9, state.v ?? (clone === "raw" ? g : d), 1 - dampening, d);
    return combine(1, w, -rate, state.v);
  };
}

/** A layer that optax, SimCLR, MLPerf and MXNet leave without trust ratio: γ stays inside the momentum. */
const unscaledClassic: Rule = (w, g, rate, state) => {
  state.v = combine(0.9, state.v ?? zeros(w), rate, g);
  return combine(1, w, -1, state.v);
};

/** TensorFlow's contrib: the ratio of the gradient, after the momentum; λ in the denominator only. */
function tensorflowContrib(momentum: number, decay: number): Rule {
  return (w, g, rate, state) => {
    state.v = combine(momentum, state.v ?? zeros(w), 1, g);
    return combine(1, w, -rate * ratio(0.001, w, g, normOf(g) + decay * normOf(w)), state.v);
  };
}

const cases: [string, LARSOptions, Rule][] = [
  ["paper", presets.paper({ lr }), sumOfNorms({ decay: 0.0005, eps: 0 })],
  ["mlperf", presets.mlperf({ lr }), sumOfNorms({ decay: 1e-4, eps: 1e-7 })],
  [
    "mlperf with Nesterov",
    presets.mlperf({ lr, nesterov: true }),
    sumOfNorms({ decay: 1e-4, eps: 1e-7, nesterov: true }),
  ],
  ["paddle", presets.paddle({ lr }), sumOfNorms({ decay: 0.0005, eps: 0 })],
  [
    "MXNet's unfused step",
    {
      lr,
      momentum: 0.9,
      weightDecay: 0.001,
      trustRatio: { rule: "scale-gradient", eps: 1e-8 },
    },
    sumOfNorms({ decay: 0.001, eps: 1e-8 }),
  ],
  ...[false, true].flatMap((nesterov): [string, LARSOptions, Rule][] => [
    [
      `simclr, classic_momentum on${nesterov ? ", Nesterov" : ""}`,
      presets.simclr({ lr, weightDecay: 1e-6, nesterov }),
      simclr(true, nesterov),
    ],
    [
      `simclr, classic_momentum off${nesterov ? ", Nesterov" : ""}`,
      presets.simclr({ lr, weightDecay: 1e-6, nesterov, trustRatio: "scale-update" }),
      simclr(false, nesterov),
    ],
  ]),
  [
    "torchlars",
    presets.torchlars({ lr, momentum: 0.9, weightDecay: 0.01 }),
    overTorchSGD((w, g) => normOf(g) + 0.01 * normOf(w) + 1e-8, { decay: 0.01 }),
  ],
  [
    "MAE, Barlow Twins, VICReg and MoCo v3",
    {
      lr,
      momentum: 0.9,
      weightDecay: 0.01,
      trustRatio: { rule: "scale-gradient", denominator: "joint", momentumOrder: "torch" },
    },
    overTorchSGD((_w, _g, d) => normOf(d), { decay: 0.01 }),
  ],
  ...[false, true].flatMap((nesterov): [string, LARSOptions, Rule][] => [
    [
      `lightly and solo-learn${nesterov ? ", Nesterov" : ""}`,
      presets.timm({ lr, momentum: 0.9, weightDecay: 0.01, nesterov }),
      overTorchSGD((w, g) => normOf(g) + 0.01 * normOf(w) + 1e-8, { decay: 0.01, nesterov }),
    ],
  ]),
  [
    "solo-learn with clip_lars_lr",
    presets.timm({ lr, momentum: 0.9, weightDecay: 0.01, trustRatio: { clip: true } }),
    overTorchSGD((w, g) => normOf(g) + 0.01 * normOf(w) + 1e-8, { decay: 0.01, clip: true }),
  ],
  [
    "Chainer, above its threshold",
    {
      lr,
      momentum: 0.9,
      weightDecay: 0.01,
      trustRatio: { rule: "scale-gradient", coefficient: 1, eps: 1e-9 },
    },
    chainer,
  ],
  [
    "kozistr up to 3.5, dampening equal to the momentum",
    {
      lr,
      momentum: 0.9,
      dampening: 0.9,
      weightDecay: 0.01,
      trustRatio: {
        rule: "scale-gradient",
        denominator: "gradient",
        momentumOrder: "torch",
      },
    },
    kozistr("scaled", 0.9),
  ],
  [
    "a layer without trust ratio in the classic order",
    {
      lr,
      momentum: 0.9,
      trustRatio: { rule: "scale-gradient", coefficient: 1e30, clip: true },
    },
    unscaledClassic,
  ],
  [
    "TensorFlow contrib without momentum and decay",
    { lr, trustRatio: "scale-update" },
    tensorflowContrib(0, 0),
  ],
];

const SUM: LARSOptions["trustRatio"] = { rule: "scale-gradient", coefficient: 1 };
const GRADIENT: LARSOptions["trustRatio"] = { rule: "scale-gradient", denominator: "gradient" };
const KOZISTR: LARSOptions = { lr, momentum: 0.9, weightDecay: 0.01, trustRatio: GRADIENT };

function ours(options: LARSOptions, initial: Vector, gradients: readonly Vector[], kernel: object) {
  const parameter = new Parameter(Float32Array.from(initial));
  const optimizer = new LARS([parameter], options, kernel);
  for (const gradient of gradients) {
    parameter.grad = Float32Array.from(gradient);
    optimizer.step();
  }
  optimizer.dispose();
  return parameter.data;
}

describe("update rules transcribed from their sources", () => {
  const random = noise();
  const gradients = Array.from({ length: STEPS }, () => vector(random, 300));
  const starts = {
    "weights at random": vector(random, 300),
    "weights at zero": zeros(gradients[0]!),
  };

  forEachKernel(({ options: kernel }) => {
    describe.each(Object.entries(starts))("%s", (_start, initial) => {
      it.each(cases)("%s: within 1e-6 of the layer's largest magnitude", (_name, options, rule) => {
        const state = {};
        const expected = gradients.reduce((w, g, step) => rule(w, g, lr(step), state), initial);
        const actual = ours(options, initial, gradients, kernel);
        expect(relativeDifference(actual, expected)).toBeLessThanOrEqual(1e-6);
      });
    });
  });

  /** How far our weights are from a rule's, which starts from random weights, at a rate that may stay the same. */
  function distance(options: LARSOptions, rule: Rule, rate = lr): number {
    const state = {};
    const initial = starts["weights at random"];
    const expected = gradients.reduce((w, g, step) => rule(w, g, rate(step), state), initial);
    return relativeDifference(ours(options, initial, gradients, {}), expected);
  }

  it("MXNet's LBSGD within 1e-6, as long as λ is 0", () => {
    const options = { lr, momentum: 0.9, trustRatio: SUM };
    expect(distance(options, lbsgd(0))).toBeLessThanOrEqual(1e-6);
    expect(distance({ ...options, weightDecay: 0.01 }, lbsgd(0.01))).toBeGreaterThan(1e-4);
  });

  it("kozistr up to 3.5 within 1e-6, at a constant rate that is 1 + μ times as high in the first step", () => {
    const constant = (): number => 0.1;
    const lifted = (step: number): number => (step === 0 ? 0.19 : 0.1);
    const options = { ...KOZISTR, lr: lifted };
    expect(distance(options, kozistr("scaled", 0), constant)).toBeLessThanOrEqual(1e-6);
    expect(distance({ ...KOZISTR, lr: 0.1 }, kozistr("scaled", 0), constant)).toBeGreaterThan(1e-5);
  });

  it.each<[string, LARSOptions, Rule]>([
    ...(["scale-update", "scale-gradient"] as const).map(
      (trustRatio): [string, LARSOptions, Rule] => [
        `TensorFlow contrib with momentum, by ${trustRatio}`,
        { lr, momentum: 0.9, trustRatio },
        tensorflowContrib(0.9, 1e-4),
      ],
    ),
    ["kozistr up to 3.5 at a changing rate", KOZISTR, kozistr("scaled", 0)],
    ["kozistr from 3.6 on", KOZISTR, kozistr("raw", 0)],
    [
      "lightly without weight decay, which switches its trust ratio off",
      presets.timm({ lr, momentum: 0.9 }),
      (w, g, rate, state) => {
        state.v = state.v === undefined ? g : combine(0.9, state.v, 1, g);
        return combine(1, w, -rate, state.v);
      },
    ],
  ])("says where options do not reproduce a reference: %s", (_name, options, rule) => {
    expect(distance(options, rule)).toBeGreaterThan(1e-5);
  });
});
