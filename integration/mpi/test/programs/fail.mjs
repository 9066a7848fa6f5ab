// One process fails in some way; the others wait for it in a blocking call.
import { execSync } from "node:child_process";
import { Mpi } from "layerwise/mpi";

const [how] = process.argv.slice(2);
const job = await Mpi.init();
job.barrier();
const fails = job.rank === job.size - 1 || how.startsWith("all ");
if (fails) {
  if (how.endsWith("exception")) throw new Error("this rank is broken");
  if (how === "rejection") await Promise.reject(new Error("this rank is broken"));
  if (how === "exit 0") process.exit(0);
  if (how === "exit 3") process.exit(3);
  if (how === "SIGKILL") process.kill(process.pid, "SIGKILL");
  if (how === "lost-host") execSync("kill -9 $(ip netns pids $(ip netns identify $$))");
  if (how === "abort") job.abort("this rank is broken");
  if (how === "no finalize") process.stdout.write("no finalize\n");
  else if (how === "length") job.allReduce(new Float32Array(3));
} else {
  job.allReduce(new Float32Array(2));
  // Where the call above came back, which it must not: wait for what never comes.
  setInterval(() => undefined, 1000);
}
