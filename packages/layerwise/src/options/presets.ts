/**
 * Options that reproduce known implementations of LARS. docs/references.md says for each what is
 * reproduced, how exactly, and where it differs.
 */
import { checkObject } from "../check.js";
import type { TrustRatio } from "../decide/trust-ratio.js";
import { bothRulesError, namedOptions, resolveTrustRatio } from "./options.js";
import type { LARSOptions, TrustRatioOption } from "./options.js";

/**
 * Options that replace a preset's own. `trustRatio` may have single fields, which override those of the
 * preset's rule, or another rule, which replaces it. `maxUnorm` is short for the rule `clip-update` here too.
 */
export type PresetOverrides = Omit<Partial<LARSOptions>, "trustRatio"> & {
  trustRatio?: TrustRatioOption | RuleFields;
};

/** Fields of one of the presets' rules, without its name. */
type RuleFields =
  ScaleGradientFields | Partial<Omit<Extract<TrustRatio, { rule: "clip-update" }>, "rule">>;

type ScaleGradientFields = Partial<Omit<Extract<TrustRatio, { rule: "scale-gradient" }>, "rule">>;

/** Complete options if the overrides have an `lr`; otherwise options without `lr`, for a parameter group. */
export interface Preset {
  (overrides: PresetOverrides & Pick<LARSOptions, "lr">): LARSOptions;
  (overrides?: PresetOverrides): Omit<Partial<LARSOptions>, "lr">;
}

/** A preset's function: its options, then the overrides. Undefined overrides are ignored. */
function preset(name: string, options: Partial<LARSOptions>, rule: TrustRatioOption): Preset {
  return (overrides: PresetOverrides = {}) => {
    const { trustRatio, maxUnorm, ...others } = namedOptions(`presets.${name}`, overrides);
    if (trustRatio !== undefined && maxUnorm !== undefined)
      throw bothRulesError(maxUnorm, trustRatio);
    const override = maxUnorm === undefined ? trustRatio : { rule: "clip-update", maxUnorm };
    // As complete as the overrides are, which the two signatures of Preset say.
    return {
      ...options,
      ...others,
      trustRatio: overlaid(resolveTrustRatio(rule), override),
    } as LARSOptions;
  };
}

function overlaid(rule: TrustRatio, override: unknown): TrustRatio {
  if (override === undefined) return rule;
  if (typeof override === "string") return resolveTrustRatio(override);
  const fields = checkObject("trustRatio", override);
  const replaces = fields.rule !== undefined && fields.rule !== rule.rule;
  return resolveTrustRatio(replaces ? fields : { ...rule, ...fields });
}

const scaleGradient = (fields: ScaleGradientFields): TrustRatioOption => ({
  rule: "scale-gradient",
  ...fields,
});

export const presets = {
  /**
   * bitsandbytes `PytorchLARS`, and `LARS32bit` on the CPU: `clip-update` with max_unorm 0.02; a layer at
   * zero stays there. Source: bitsandbytes `optim/lars.py`, `backends/cpu/ops.py`.
   */
  bitsandbytes: preset(
    "bitsandbytes",
    {},
    { rule: "clip-update", maxUnorm: 0.02, whenZero: "freeze" },
  ),

  /** You, Gitman, Ginsburg 2017 (arXiv 1708.03888), algorithm 1: η 0.001, momentum 0.9, λ 0.0005. */
  paper: preset("paper", { momentum: 0.9, weightDecay: 0.0005 }, scaleGradient({})),

  /**
   * timm `Lars`: ε 1e-8, γ outside the momentum. timm adapts a layer without weight decay only under
   * `always_adapt`; this preset adapts it always. Source: timm `optim/lars.py`.
   */
  timm: preset("timm", {}, scaleGradient({ eps: 1e-8, momentumOrder: "torch" })),

  /**
   * NVIDIA Apex `LARC` over `torch.optim.SGD`: η 0.02, ε 1e-8, clipped to the rate (`clip` true). Source: Apex
   * `parallel/LARC.py`.
   */
  apexLARC: preset(
    "apexLARC",
    {},
    scaleGradient({ coefficient: 0.02, eps: 1e-8, clip: true, momentumOrder: "torch" }),
  ),

  /** `optax.lars`: joint norm of g + λw, momentum 0.9. Source: optax `_src/alias.py`. */
  optax: preset("optax", { momentum: 0.9 }, scaleGradient({ denominator: "joint" })),

  /**
   * SimCLR's `LARSOptimizer` with `classic_momentum` on, its default: joint norm, momentum 0.9, no decay (its
   * training script sets 1e-6). Off: `trustRatio: "scale-update"`. Source: SimCLR `lars_optimizer.py`.
   */
  simclr: preset("simclr", { momentum: 0.9 }, scaleGradient({ denominator: "joint" })),

  /**
   * The MLPerf ResNet-50 reference: sum of norms, momentum 0.9, λ 1e-4, ε 1e-7 (its default of 0 means
   * Keras' epsilon). Source: MLPerf training, `image_classification/tensorflow2/lars_optimizer.py`.
   */
  mlperf: preset("mlperf", { momentum: 0.9, weightDecay: 1e-4 }, scaleGradient({ eps: 1e-7 })),

  /** torchlars `LARS` over `torch.optim.SGD`: ε 1e-8, γ outside the momentum. Source: torchlars `lars.py`. */
  torchlars: preset("torchlars", {}, scaleGradient({ eps: 1e-8, momentumOrder: "torch" })),

  /**
   * Paddle `LarsMomentumOptimizer`: λ 0.0005, ε 0, momentum required (0.9 here). Source: Paddle
   * `lars_momentum_kernel.cc`, `.cu`.
   */
  paddle: preset("paddle", { momentum: 0.9, weightDecay: 0.0005 }, scaleGradient({})),
} as const satisfies Record<string, Preset>;
