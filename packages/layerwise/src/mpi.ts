/** layerwise/mpi: training on several processes. */
export { agreeOnJob } from "./distributed/agreement.js";
export type { Fact } from "./distributed/agreement.js";
export type { Collective, NumberArray, Sequence } from "./distributed/collective.js";
export { DataParallel } from "./distributed/data-parallel.js";
export type { DataParallelOptions } from "./distributed/data-parallel.js";
export { localCollective } from "./distributed/local.js";
export { broadcastText, gatherTexts } from "./distributed/texts.js";
