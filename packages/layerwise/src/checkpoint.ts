/** Optimizer state, together with other tensors, as safetensors bytes. */
export { decodeCheckpoint, encodeCheckpoint } from "./state/checkpoint.js";
export type { Checkpoint, CheckpointExtras, CheckpointTensor } from "./state/checkpoint.js";
