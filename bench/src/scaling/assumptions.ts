/** What the model of step time takes for given. Every number here is an assumption, with where it comes from. */

/** Something to train. */
export interface Workload {
  readonly name: string;
  readonly parameters: number;
  /** Chunks of at most 32,768 elements of all layers: each has two sums in the exchange of norms. */
  readonly chunks: number;
  /** Floating-point operations of a sample, forwards and backwards. */
  readonly work: number;
  /** What a sample is. */
  readonly sample: string;
  /** Batch sizes that papers trained with, in samples, from small to large. */
  readonly batches: readonly { readonly samples: number; readonly of: string }[];
}

export interface Network {
  readonly name: string;
  /** Seconds of a message without bytes. */
  readonly latency: number;
  /** Bytes a second, each way. */
  readonly bandwidth: number;
}

export interface Processor {
  /** Floating-point operations a second that training gets out of it. */
  readonly speed: number;
  /** Bytes a second that a step of the optimizer reads and writes. */
  readonly memory: number;
}

/** Elements of a chunk: norms are sums over chunks, and processes share whole ones. */
export const CHUNK_SIZE = 32_768;
const SEQUENCE = 1024;
const BILLION = 1e9;

export const WORKLOADS: readonly Workload[] = [
  {
    name: "ResNet-50",
    parameters: 25_557_032,
    chunks: 895,
    // 3.8 × 10^9 multiply-adds forwards (He et al. 2015, table 1), two operations each; backwards takes twice as many.
    work: 3 * 2 * 3.8e9,
    sample: "image of 224 × 224",
    batches: [
      { samples: 8192, of: "SGD with warm-up (Goyal et al. 2017)" },
      { samples: 32_768, of: "LARS (You et al. 2017)" },
    ],
  },
  {
    name: "a transformer of 10^9 parameters",
    parameters: BILLION,
    // Almost all are in matrices of many chunks.
    chunks: Math.ceil(BILLION / CHUNK_SIZE),
    // 6 operations a parameter and token (Kaplan et al. 2020, 2.1).
    work: 6 * BILLION * SEQUENCE,
    sample: `sequence of ${SEQUENCE} tokens`,
    batches: [
      {
        samples: 2 ** 20 / SEQUENCE,
        of: "GPT-3 XL, 1.3 × 10^9 parameters: Adam (Brown et al. 2020)",
      },
    ],
  },
];

/** One process has one link of its own. Latencies: of TCP; of RDMA; of RDMA in one switch. */
export const NETWORKS: readonly Network[] = [
  { name: "10 Gbit/s", latency: 25e-6, bandwidth: 10e9 / 8 },
  { name: "100 Gbit/s", latency: 5e-6, bandwidth: 100e9 / 8 },
  { name: "400 Gbit/s", latency: 2e-6, bandwidth: 400e9 / 8 },
];

/** A server: 2 TFLOP/s in float32 of the 4 to 6 that 64 cores with AVX-512 have, and 8 channels of DDR4-3200 at half their peak. */
export const SERVER: Processor = { speed: 2e12, memory: 100e9 };

export const PROCESSES = [8, 64, 512, 4096] as const;

/** Samples of one process, of the table of steps. */
export const SAMPLES_PER_PROCESS = 32;

/** A process is busy when it computes for so much of a step. */
export const BUSY = 0.8;

/** DataParallel sums gradients in buckets of so many bytes. */
export const BUCKET_BYTES = 25 * 2 ** 20;
