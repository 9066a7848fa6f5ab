export { Mpi } from "./distributed/mpi/mpi.js";
export type { MpiJob, MpiOptions } from "./distributed/mpi/mpi.js";
export { withoutMpi } from "./distributed/mpi/launcher.js";
export type { Collective, NumberArray, Sequence } from "./distributed/collective.js";
export { localCollective } from "./distributed/local.js";
export { agreeOnJob } from "./distributed/agreement.js";
export type { Fact } from "./distributed/agreement.js";
export { DataParallel } from "./distributed/data-parallel.js";
export type { DataParallelOptions } from "./distributed/data-parallel.js";
export {
  ShardedLARS,
  ShardedLARS32bit,
  ShardedLARS8bit,
} from "./distributed/sharded/sharded-lars.js";
export type { ShardedOptions } from "./distributed/sharded/sharded-lars.js";
export { broadcastWeights, expectSameWeights } from "./distributed/weights.js";
export { broadcastText, gatherTexts } from "./distributed/texts.js";
