/** layerwise: the LARS optimizers for plain typed arrays. */
export { accumulate } from "./optimizer/accumulate.js";
export { NonFiniteGradientError } from "./errors.js";
export { LARS, LARS32bit, LARS8bit } from "./optimizer/lars.js";
export type { KernelOptions, LayerReport, StepOptions, StepReport } from "./optimizer/lars.js";
export type { Args, LARSOptions, TrustRatioFields, TrustRatioOption } from "./options/options.js";
export { excludeFromAdaptation, ParamGroup } from "./optimizer/param-group.js";
export type { ParamGroupOptions } from "./optimizer/param-group.js";
export { Parameter } from "./optimizer/parameter.js";
export type { AllocatedParameter, ParameterOptions } from "./optimizer/parameter.js";
export { presets } from "./options/presets.js";
export type { Preset, PresetOverrides } from "./options/presets.js";
export * as schedules from "./options/schedules.js";
export type { Schedule } from "./options/schedules.js";
export type { LoadReport } from "./optimizer/state-dict.js";
export type { LayerState, StateDict } from "./state/saved-state.js";
export type { TrustRatio } from "./decide/trust-ratio.js";
export type { BlockwiseMomentum, Float32Momentum, Momentum } from "./kernels/kernel.js";
export type { KernelName } from "./kernels/choose.js";
