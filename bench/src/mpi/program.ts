/** One process of a job that is measured: `mpirun -n 2 node program.js <task>`. Rank 0 prints what it found. */
import { joinJob } from "./internals.js";
import { timeNorms } from "./norms.js";
import { printedOutcome } from "./run-job.js";
import { timeSteps } from "./steps.js";
import { timeSums } from "./sums.js";
import type { JobTask } from "./task.js";

const { kind, sizes, rounds } = JSON.parse(process.argv[2]!) as JobTask;
const job = await joinJob();
const { transport } = job;
try {
  const time = { sums: timeSums, norms: timeNorms, steps: timeSteps }[kind];
  const rows = sizes.map((size) => time(job, size, rounds));
  const outcome = { library: transport.name, processes: transport.size, rows };
  if (transport.rank === 0) console.log(printedOutcome(outcome));
  transport.finalize();
} catch (error) {
  // The others would wait for this process forever.
  console.error(error);
  transport.abort(1);
}
process.exit(0);
