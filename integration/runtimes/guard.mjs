/**
 * Cleans up after the tests, however they end: its input closes with their process, even with one that is killed. Then
 * it kills the groups of processes that were reported on its input and not taken back, and removes the folder.
 */
import { rmSync } from "node:fs";
import { createInterface } from "node:readline";

const [folder] = process.argv.slice(2);
const groups = new Set();
for await (const line of createInterface({ input: process.stdin })) {
  const [verb, id] = line.split(" ");
  if (verb === "started") groups.add(Number(id));
  else groups.delete(Number(id));
}
for (const id of groups) {
  try {
    process.kill(-id, "SIGKILL");
  } catch {
    // It has ended.
  }
}
// A browser that is dying may still write.
rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
