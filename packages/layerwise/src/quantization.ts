/** Block-wise 8-bit quantization: the state of `LARS8bit`, for use on any array. */
export { BLOCK_SIZE, createDynamicMap } from "./state/codebook.js";
export { dequantizeBlockwise, quantizeBlockwise } from "./state/blockwise.js";
export type { QuantizedBlocks } from "./state/blockwise.js";
