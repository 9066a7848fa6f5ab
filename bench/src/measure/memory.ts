/** How much memory a step takes: the process's peak, before there is an optimizer and after some steps. */
import { oneLayer } from "../problem.js";
import { Judge } from "../rival.js";
import {
  allocatedParameters,
  createLars,
  LarsRivals,
  outsideParameters,
} from "../rivals/layerwise.js";
import type { LarsChoice } from "../rivals/layerwise.js";

export interface MemoryTask extends LarsChoice {
  readonly size: number;
}

export interface MemoryUse {
  readonly size: number;
  /** What the optimizer says it holds, bytes a parameter. */
  readonly state: number;
  /** Peak of the process with weights and gradients only, bytes. */
  readonly before: number;
  /** What the steps added to it, bytes a parameter. */
  readonly added: number;
}

const STEPS = 3;
const CHECKED_SIZE = 2 ** 14;

export async function measure({ size, ...choice }: MemoryTask): Promise<MemoryUse> {
  await check(choice);
  const problem = oneLayer(size);
  const parameters =
    choice.where === "own memory" ? allocatedParameters(problem) : outsideParameters(problem);
  const before = peakBytes();
  const optimizer = createLars(parameters, choice);
  for (let step = 0; step < STEPS; step++) optimizer.step();
  const added = (peakBytes() - before) / size;
  return { size, state: optimizer.stateBytes / size, before, added };
}

/** Small, so that it leaves no mark on the peak; and it starts the threads. */
async function check(choice: LarsChoice): Promise<void> {
  const problem = oneLayer(CHECKED_SIZE);
  const parameters =
    choice.where === "own memory" ? allocatedParameters(problem) : outsideParameters(problem);
  const lars = new LarsRivals(problem, parameters, choice);
  await new Judge(problem).check(lars.rival("clip-update"));
  lars.dispose();
}

function peakBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}
