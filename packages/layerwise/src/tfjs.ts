/** layerwise/tfjs: the LARS optimizers for TensorFlow.js. */
export { createLars } from "./adapters/tfjs/optimizer.js";
export type { LARSClass, LARSClasses, LARSMembers } from "./adapters/tfjs/optimizer.js";
export type {
  TensorFlowLARSOptions,
  VariableInfo,
  VariableOptions,
  VariablePattern,
} from "./adapters/tfjs/options.js";
export type { TensorFlowNamespace } from "./adapters/tfjs/tensorflow.js";
export type { LARSOptions } from "./options/options.js";
export { NonFiniteGradientError } from "./errors.js";
