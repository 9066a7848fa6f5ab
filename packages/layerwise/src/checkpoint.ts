/** Optimizer state, and tensors beside it, as safetensors bytes. */
export { decodeCheckpoint, encodeCheckpoint } from "./state/checkpoint.js";
export type { Checkpoint, CheckpointExtras, CheckpointTensor } from "./state/checkpoint.js";
