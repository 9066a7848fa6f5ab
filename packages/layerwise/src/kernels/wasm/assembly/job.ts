/**
 * A job: one pass over many layers, cut into chunks that threads take one after the other.
 *
 * Chunks are cut at fixed bounds, and each has its own place for its sums, so the result does not
 * depend on which thread takes it. The counter holds the job's number and the next free chunk. A thread
 * takes a chunk by replacing the counter that it read by the next one. The exchange fails once the loader has closed
 * that job. So a thread that was descheduled in between never runs a chunk of a job that it has not read, and what
 * it has read of a job belongs to that job.
 */
import { apply } from "./apply";
import { FETCH_MOMENTUM, Layer, LAYER_BYTES, Sums, SUMS_BYTES } from "./layer";
import { CHUNK } from "./layout";
import { measure } from "./measure";
import { pause } from "./pause";

@unmanaged
export class Job {
  /** High half: the job's number. Low half: the next chunk that nobody has taken; beyond any while the job is closed. */
  counter: i64;
  /** Chunks that are done. */
  done: i32;
  chunks: i32;
  layerCount: i32;
  /** MEASURE or APPLY. */
  pass: i32;
  /** Stretches that the chunks are taken from in turn: one for each thread. */
  stretches: i32;
  layers: usize;
  sums: usize;
}

export const MEASURE: i32 = 0;
export const APPLY: i32 = 1;

/** Takes chunks until there are none left. */
export function work(job: Job): void {
  const at = changetype<usize>(job);
  while (true) {
    const counter = atomic.load<i64>(at);
    const taken = <i32>counter;
    if (taken >= job.chunks) return;
    pause();
    if (atomic.cmpxchg<i64>(at, counter, counter + 1) != counter) continue;
    runChunk(job, chunkAt(job, taken));
    const done = atomic.add<i32>(at, 1, offsetof<Job>("done")) + 1;
    if (done == job.chunks) atomic.notify(at + offsetof<Job>("done"), -1);
  }
}

/**
 * The chunk that is taken as number `taken`. Threads that work at the same time get chunks that are far apart:
 * 4 to 7 % faster than neighboring chunks, measured on two threads and 2^25 elements.
 */
function chunkAt(job: Job, taken: i32): i32 {
  const stretch = taken % job.stretches;
  const length = job.chunks / job.stretches;
  return stretch * length + min(stretch, job.chunks % job.stretches) + taken / job.stretches;
}

function runChunk(job: Job, chunk: i32): void {
  const layer = layerOf(job, chunk);
  const start = <u32>(chunk - layer.firstChunk) * CHUNK;
  const count = <i32>min(CHUNK, layer.size - start);
  const sums = changetype<Sums>(job.sums + <usize>chunk * SUMS_BYTES);
  if (layer.flags & FETCH_MOMENTUM) fetchMomentum(layer, start, count);
  if (job.pass == APPLY) apply(layer, start, count, sums);
  else measure(layer, start, count, sums);
}

/** What fetchMomentum found: a global, so that its loads are not left out as useless. */
let fetched: u32 = 0;

/**
 * Loads a byte of each cache line of a chunk's momentum. One array alone that comes from memory in the middle of
 * arithmetic comes slowly, at 20 GB/s; by itself, at 40 (measured over 2^25 elements, one thread).
 */
function fetchMomentum(layer: Layer, start: u32, count: i32): void {
  const width: usize = layer.absmax ? 1 : 4;
  const end = layer.momentum + <usize>(start + count) * width;
  for (let at = layer.momentum + <usize>start * width; at < end; at += 64) fetched |= load<u8>(at);
}

/** The layer that a chunk belongs to: the last one whose first chunk is not beyond it. */
function layerOf(job: Job, chunk: i32): Layer {
  let low = 0;
  let high = job.layerCount - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (changetype<Layer>(job.layers + <usize>middle * LAYER_BYTES).firstChunk <= chunk)
      low = middle;
    else high = middle - 1;
  }
  return changetype<Layer>(job.layers + <usize>low * LAYER_BYTES);
}
