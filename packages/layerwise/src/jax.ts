/** layerwise/jax: LARS for jax-js, as gradient transformations and, on the CPU, with the core's kernels. */
export { clipByPercentile } from "./adapters/jax/clipping.js";
export { lars, lars8bit } from "./adapters/jax/lars.js";
export type { LarsOptions, LarsState, MaskOptions } from "./adapters/jax/lars.js";
export type { LarsLayerState } from "./adapters/jax/lars-step.js";
export { scaleByLearningRate, tabulated } from "./adapters/jax/learning-rate.js";
export type { ArraySchedule } from "./adapters/jax/learning-rate.js";
export type { Mask } from "./adapters/jax/masks.js";
export { trace } from "./adapters/jax/momentum.js";
export type { LayerMomentum, TraceOptions } from "./adapters/jax/momentum.js";
export { HostOptimizer, optimizerFor } from "./adapters/jax/optimizer-for.js";
export type { HostGradient, HostLeaf, HostOptions } from "./adapters/jax/optimizer-for.js";
export { applyUpdates, chain } from "./adapters/jax/transformation.js";
export type { GradientTransformation, OptState } from "./adapters/jax/transformation.js";
export { LayerShape } from "./adapters/jax/trees.js";
export type { ArrayTree } from "./adapters/jax/trees.js";
export { addDecayedWeights, scaleByTrustRatio } from "./adapters/jax/trust-ratio.js";
export type { TrustRatioOptions } from "./adapters/jax/trust-ratio.js";
