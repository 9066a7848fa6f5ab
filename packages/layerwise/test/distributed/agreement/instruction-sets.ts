/** A job in which rank 1 runs on an engine without relaxed SIMD. */
import { setFlagsFromString } from "node:v8";
import { agreeOnJob } from "../../../src/distributed/agreement.js";
import type { Collective } from "../../../src/distributed/collective.js";

/** The warnings on this rank. */
export function run(collective: Collective): string[] {
  const warnings: string[] = [];
  console.warn = (message: string) => warnings.push(message);
  // Node 20 has it behind a flag, which is the process's, and so all ranks'.
  if (Number.parseInt(process.versions.node) < 22) {
    setFlagsFromString("--experimental-wasm-relaxed-simd");
  }
  if (collective.rank === 1) {
    Object.defineProperty(WebAssembly, "Module", {
      value: () => {
        throw new WebAssembly.CompileError("simd opcode not available");
      },
    });
  }
  agreeOnJob(collective, () => []);
  agreeOnJob(collective, () => []);
  return warnings;
}
