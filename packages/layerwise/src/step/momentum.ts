/** Momentum in the kind that a layer's options ask for. */
import type { Kernel } from "../kernels/kernel.js";
import type { Hyperparameters } from "../options/options.js";
import { copyMomentum } from "../state/momentum.js";
import type { Momentum } from "../state/momentum.js";

/** How a layer's momentum is kept. */
export type MomentumKind = Momentum["kind"] | "none";

/** The kind of momentum that a layer's options ask for. */
export function wantedMomentum(values: Hyperparameters, size: number): MomentumKind {
  if (values.momentum === 0) return "none";
  return values.optimBits === 8 && size >= values.min8bitSize ? "blockwise" : "float32";
}

/** What momentum belongs to: a parameter, or what is known of one. */
export interface MomentumOwner {
  readonly size: number;
  readonly data?: Float32Array;
}

/**
 * The momentum of a layer in the wanted kind: unchanged, converted into new arrays, or zeros. It neither
 * changes nor frees anything, so a failed allocation leaves the state as it was.
 */
export function momentumAs(
  kind: MomentumKind,
  current: Momentum | null,
  owner: MomentumOwner,
  kernel: Kernel,
): Momentum | null {
  if (kind === "none") return null;
  if (current?.kind === kind) return current;
  // Zeros: absmax 0 makes every code stand for 0.
  const next = kernel.allocateMomentum(kind, owner.size, owner.data);
  if (current !== null) copyMomentum(current, next);
  return next;
}

/**
 * Makes the momenta of several layers, or none.
 *
 * @param make for each item; what it returns is released if a later one fails, unless it was kept before
 */
export function makeMomenta<Item>(
  items: readonly Item[],
  make: (item: Item) => Momentum | null,
  { kept, kernel }: { kept: (item: Item) => Momentum | null; kernel: Kernel },
): (Momentum | null)[] {
  const made: (Momentum | null)[] = [];
  try {
    for (const item of items) made.push(make(item));
    return made;
  } catch (error) {
    made.forEach((momentum, index) => {
      if (momentum !== null && momentum !== kept(items[index]!)) kernel.releaseMomentum(momentum);
    });
    throw error;
  }
}
