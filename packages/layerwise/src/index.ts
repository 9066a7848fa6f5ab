/** layerwise: the LARS optimizers for plain typed arrays. */
export { accumulate } from "./accumulate.js";
export { NonFiniteGradientError } from "./errors.js";
export { LARS, LARS32bit, LARS8bit } from "./lars.js";
export type { KernelOptions, LayerReport, StepOptions, StepReport } from "./lars.js";
export type { Args, LARSOptions, TrustRatioFields, TrustRatioOption } from "./options.js";
export { excludeFromAdaptation, ParamGroup } from "./param-group.js";
export type { ParamGroupOptions } from "./param-group.js";
export { Parameter } from "./parameter.js";
export type { ParameterOptions } from "./parameter.js";
export { presets } from "./presets.js";
export type { Preset, PresetOverrides } from "./presets.js";
export * as schedules from "./schedules.js";
export type { Schedule } from "./schedules.js";
export type { LoadReport } from "./state-dict.js";
export type { LayerState, StateDict } from "./state/saved-state.js";
export type { TrustRatio } from "./decide/trust-ratio.js";
export type { BlockwiseMomentum, Float32Momentum, Momentum } from "./kernels/kernel.js";
export type { KernelName } from "./kernels/choose.js";
