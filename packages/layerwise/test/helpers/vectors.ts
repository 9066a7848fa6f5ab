/** vectors/lars.json: what the reference implementations compute, decoded. */
import { readFileSync } from "node:fs";
import { presets } from "../../src/index.js";
import type { LARSOptions } from "../../src/index.js";

/** The reference's own names. */
type RawOptions = Record<string, number | boolean | number[]>;

interface RawTrajectory {
  reference: string;
  options: RawOptions;
  sizes: number[];
  steps: number;
  w0: string[];
  grads: string[][];
  weights: string[][];
  state: { momentum?: string; codes?: string; absmax?: string }[][] | null;
}

interface RawVectors {
  trajectories: RawTrajectory[];
  quantization: {
    kind: string;
    n: number;
    x: string;
    codes: string;
    absmax: string;
    dequantized: string;
  }[];
  percentileClipping: {
    percentile: number;
    steps: number;
    norms: number[];
    scales: number[];
  }[];
  dynamicMap: string;
}

export interface TrajectoryState {
  momentum: Float32Array | null;
  codes: Uint8Array | null;
  absmax: Float32Array | null;
}

export interface Trajectory {
  /** The reference and its options, as the tables name them. */
  readonly title: string;
  readonly preset: string;
  /** The preset's options with those of the trajectory over them. */
  readonly options: LARSOptions;
  readonly steps: number;
  readonly initial: readonly Float32Array[];
  /** By step and layer. */
  readonly gradients: readonly (readonly Float32Array[])[];
  readonly weights: readonly (readonly Float32Array[])[];
  /** null: the reference shows none. */
  readonly states: readonly (readonly TrajectoryState[])[] | null;
}

const raw = JSON.parse(
  readFileSync(new URL("../vectors/lars.json", import.meta.url), "utf8"),
) as RawVectors;

function bytes(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "base64"));
}

function floats(text: string): Float32Array {
  return new Float32Array(bytes(text).buffer);
}

/** Options that all references have under the same names, and mean alike. */
function commonOptions(options: RawOptions): Pick<LARSOptions, "lr"> {
  const rates = options.lr_per_step as number[] | undefined;
  const names = {
    momentum: "momentum",
    weight_decay: "weightDecay",
    dampening: "dampening",
    nesterov: "nesterov",
  };
  const given: Partial<LARSOptions> = Object.fromEntries(
    Object.entries(names).flatMap(([theirs, ours]) =>
      options[theirs] === undefined ? [] : [[ours, options[theirs]]],
    ),
  );
  return {
    ...given,
    lr: rates === undefined ? (options.lr as number) : (step: number) => rates[step]!,
  };
}

/** The fields of `scale-gradient`, which each reference has under its own names. */
interface ScaleGradientFields {
  coefficient?: number;
  eps?: number;
  clip?: boolean;
}

function renamed(
  options: RawOptions,
  names: Record<string, keyof ScaleGradientFields>,
): ScaleGradientFields {
  return Object.fromEntries(
    Object.entries(names).flatMap(([theirs, ours]) =>
      options[theirs] === undefined ? [] : [[ours, options[theirs]]],
    ),
  );
}

/** The preset of a trajectory, and its options through it. */
function throughPreset({ reference, options }: RawTrajectory): [keyof typeof presets, LARSOptions] {
  const common = commonOptions(options);
  // bitsandbytes' own LARS8bit ignores max_unorm on the CPU.
  const maxUnorm = reference.includes("ignores max_unorm") ? 0 : (options.max_unorm as number);
  if (/8.?bit/i.test(reference)) {
    // The trajectories quantise layers of any size.
    const eight = { optimBits: 8, min8bitSize: 1 } as const;
    return ["bitsandbytes", presets.bitsandbytes({ ...common, ...eight, maxUnorm })];
  }
  if (reference.startsWith("bitsandbytes")) {
    return ["bitsandbytes", presets.bitsandbytes({ ...common, maxUnorm })];
  }
  if (reference.startsWith("timm")) {
    const trustRatio = renamed(options, {
      trust_coeff: "coefficient",
      eps: "eps",
      trust_clip: "clip",
    });
    return ["timm", presets.timm({ ...common, trustRatio })];
  }
  if (reference.startsWith("apex")) {
    const trustRatio = renamed(options, {
      trust_coefficient: "coefficient",
      eps: "eps",
      clip: "clip",
    });
    return ["apexLARC", presets.apexLARC({ ...common, trustRatio })];
  }
  if (reference.startsWith("optax")) {
    const trustRatio = renamed(options, { trust_coefficient: "coefficient" });
    return ["optax", presets.optax({ ...common, trustRatio })];
  }
  throw new Error(`no preset for ${reference}`);
}

/** The options in which trajectories of one reference differ, in a few words. */
function optionsInWords(options: RawOptions): string {
  const abbreviated: [string, string][] = [
    ["lr", "lr"],
    ["momentum", "μ"],
    ["dampening", "τ"],
    ["weight_decay", "λ"],
    ["max_unorm", "max_unorm"],
    ["trust_coeff", "η"],
    ["trust_coefficient", "η"],
  ];
  const words = abbreviated.flatMap(([name, symbol]) =>
    options[name] === undefined ||
    options[name] === 0 ||
    (name === "lr" && "lr_per_step" in options)
      ? []
      : [`${symbol} ${JSON.stringify(options[name])}`],
  );
  if (options.lr_per_step !== undefined) words.unshift("lr by step");
  if (options.nesterov === true) words.push("nesterov");
  if (options.trust_clip === true || options.clip === true) words.push("clip");
  return words.join(", ");
}

export const trajectories: readonly Trajectory[] = raw.trajectories.map((trajectory) => {
  const { reference, steps, w0, grads, weights, state } = trajectory;
  const [preset, options] = throughPreset(trajectory);
  const short = reference
    .replace(" (ignores max_unorm: compare with maxUnorm 0)", "")
    .replace(
      "8-bit LARS: bitsandbytes quantize_blockwise around the PytorchLARS rule",
      "8-bit LARS",
    )
    .replace("second tensor starts at zero", "one layer at zero");
  return {
    title: `${short}: ${optionsInWords(trajectory.options)}`,
    preset,
    options,
    steps,
    initial: w0.map(floats),
    gradients: grads.map((layers) => layers.map(floats)),
    weights: weights.map((layers) => layers.map(floats)),
    states:
      state?.map((layers) =>
        layers.map(({ momentum, codes, absmax }) => ({
          momentum: momentum === undefined ? null : floats(momentum),
          codes: codes === undefined ? null : bytes(codes),
          absmax: absmax === undefined ? null : floats(absmax),
        })),
      ) ?? null,
  };
});

/**
 * bitsandbytes on the CPU stores this float32 instead of 0 as the absmax of a last block that is all
 * zeros and shorter than 256; a full block of zeros gets 0. Both stand for the same values.
 */
const FLOOR_OF_SHORT_BLOCKS = Math.fround(1e-38);

export const quantizations = raw.quantization.map(({ kind, x, codes, absmax, dequantized }) => ({
  kind,
  values: floats(x),
  codes: bytes(codes),
  absmax: floats(absmax).map((value) => (value === FLOOR_OF_SHORT_BLOCKS ? 0 : value)),
  dequantized: floats(dequantized),
}));

export const percentileClippings = raw.percentileClipping;

export const dynamicMap = floats(raw.dynamicMap);
