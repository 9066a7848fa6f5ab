/**
 * The numbers that both sides know. The build evaluates this module and writes them into ../constants.generated.ts for
 * the loader, so each stands in one place.
 */
import { APPLY, Job, MEASURE } from "./job";
import {
  FETCH_MOMENTUM,
  Layer,
  LAYER_BYTES,
  SKIP_ZEROS,
  Sums,
  SUMS_BYTES,
  WANT_UPDATE,
  WANT_WEIGHTS,
} from "./layer";
import { BLOCK, CHUNK, SCRATCH_BYTES, TABLE_BYTES } from "./layout";

export const blockSize: i32 = BLOCK;
export const chunkSize: i32 = CHUNK;
export const tableBytes: i32 = TABLE_BYTES;
export const scratchBytes: i32 = SCRATCH_BYTES;

export const measurePass: i32 = MEASURE;
export const applyPass: i32 = APPLY;

export const jobBytes: i32 = offsetof<Job>();
export const jobCounter: i32 = offsetof<Job>("counter");
export const jobDone: i32 = offsetof<Job>("done");
export const jobChunks: i32 = offsetof<Job>("chunks");
export const jobLayerCount: i32 = offsetof<Job>("layerCount");
export const jobPass: i32 = offsetof<Job>("pass");
export const jobStretches: i32 = offsetof<Job>("stretches");
export const jobLayers: i32 = offsetof<Job>("layers");
export const jobSums: i32 = offsetof<Job>("sums");

export const layerBytes: i32 = <i32>LAYER_BYTES;
export const layerWeights: i32 = offsetof<Layer>("weights");
export const layerGradient: i32 = offsetof<Layer>("gradient");
export const layerMomentum: i32 = offsetof<Layer>("momentum");
export const layerAbsmax: i32 = offsetof<Layer>("absmax");
export const layerSize: i32 = offsetof<Layer>("size");
export const layerFlags: i32 = offsetof<Layer>("flags");
export const layerGradientFactor: i32 = offsetof<Layer>("gradientFactor");
export const layerWeightFactor: i32 = offsetof<Layer>("weightFactor");
export const layerDecay: i32 = offsetof<Layer>("decay");
export const layerAccumulation: i32 = offsetof<Layer>("accumulation");
export const layerLookahead: i32 = offsetof<Layer>("lookahead");
export const layerStepSize: i32 = offsetof<Layer>("stepSize");
export const layerFirstChunk: i32 = offsetof<Layer>("firstChunk");

export const wantWeights: i32 = WANT_WEIGHTS;
export const wantUpdate: i32 = WANT_UPDATE;
export const skipZeros: i32 = SKIP_ZEROS;
export const fetchMomentum: i32 = FETCH_MOMENTUM;

export const sumsBytes: i32 = <i32>SUMS_BYTES;
export const sumsWeights: i32 = offsetof<Sums>("weights");
export const sumsGradient: i32 = offsetof<Sums>("gradient");
export const sumsUpdate: i32 = offsetof<Sums>("update");
