/**
 * Loaded state, until its variables make their first step. TensorFlow.js uses each name once: a model that is loaded
 * again in the same page has variables `kernel_1` where `kernel` was saved.
 */
import { shown } from "../../check.js";
import type { LayerState } from "../../state/saved-state.js";
import { warn } from "../../warn.js";
import type { Slot } from "./stepper.js";

/** A layer as it was loaded; then the variable that has its state. */
interface Entry {
  saved: LayerState;
  slot: Slot | null;
}

export class LoadedState {
  /** In the order in which they were saved, which they keep. */
  #entries: Entry[];
  #isTold = false;

  constructor(layers: readonly LayerState[] = []) {
    this.#entries = layers.map((saved) => ({ saved, slot: null }));
  }

  /**
   * Finds the state of variables that make their first step: by name and shape, or by position if no name matches,
   * there are as many variables as layers, and all shapes agree.
   *
   * @param fresh in the order of the step
   */
  match(fresh: readonly Slot[]): Map<Slot, LayerState> {
    const waiting = this.#waiting.map(({ saved }) => saved);
    const placed = byName(fresh, waiting);
    if (placed.size > 0 || waiting.length < this.#entries.length) return placed;
    return byPosition(fresh, waiting);
  }

  /** Says that variables have what {@link match} found, now that they have made their first step. */
  place(found: ReadonlyMap<Slot, LayerState>): void {
    for (const [slot, state] of found) {
      const entry = this.#entries.find(({ saved }) => saved === state);
      if (entry === undefined) continue;
      entry.slot = slot;
      entry.saved = { ...state, momentum: null, gradientHistory: null };
    }
  }

  /** Forgets variables that are no more. */
  release(slots: readonly Slot[]): void {
    this.#entries = this.#entries.filter(({ slot }) => slot === null || !slots.includes(slot));
  }

  /** The same, as it is now. */
  snapshot(): LoadedState {
    const copy = new LoadedState();
    copy.#entries = this.#entries.map((entry) => ({ ...entry }));
    return copy;
  }

  /**
   * All there is to be saved, under names of their own: layers that were loaded, in their order, then others.
   *
   * @param made the state of variables that have made a step, by name
   */
  with(made: readonly LayerState[]): LayerState[] {
    const rest = new Map(made.map((state) => [state.name, state]));
    const names = new Set(rest.keys());
    const loaded = this.#entries.flatMap(({ saved, slot }) => {
      if (slot === null) return [copyUnder(freeName(saved.name ?? "", names), saved)];
      const state = rest.get(slot.name);
      rest.delete(slot.name);
      return state === undefined ? [] : [state];
    });
    return [...loaded, ...rest.values()];
  }

  /**
   * Reports once, on the console, which state has no variable after a step.
   *
   * @param fresh the variables that made their first step
   */
  tellOnce(fresh: readonly Slot[], found: ReadonlyMap<Slot, LayerState>): void {
    const waiting = this.#waiting.map(({ saved }) => saved);
    if (this.#isTold || waiting.length === 0) return;
    this.#isTold = true;
    const without = fresh.filter((slot) => !found.has(slot));
    const begun =
      without.length === 0 ? "" : ` Without state began: ${without.map(described).join(", ")}.`;
    warn(
      `loaded state is unused, since no variable with its name and shape has stepped yet: ${waiting.map(described).join(", ")}.${begun} It is kept for those variables, and saved again.`,
    );
  }

  get #waiting(): Entry[] {
    return this.#entries.filter(({ slot }) => slot === null);
  }
}

function described({
  name,
  shape,
}: Pick<LayerState, "name"> & { shape: readonly number[] }): string {
  return `${shown(name)} [${shape.join(", ")}]`;
}

/** TensorFlow.js' suffix of names that were there before. */
const SUFFIX = /_(\d+)$/;

/** Names that TensorFlow.js makes up for variables without any: they say nothing. */
function isAutomatic({ name }: Pick<LayerState, "name">): boolean {
  return /^\d+$/.test(name ?? "");
}

/** Alike: of the same name but for the suffix, and of the same shape. */
function likenessOf({ name, shape }: { name: string | null; shape: readonly number[] }): string {
  return `${(name ?? "").replace(SUFFIX, "")}\n${shape.join()}`;
}

function suffixOf({ name }: { name: string | null }): number {
  return Number(SUFFIX.exec(name ?? "")?.[1] ?? 0);
}

/**
 * Of layers that are alike, those whose names match exactly. If none do, all in the order of their suffixes, provided
 * that there are as many variables as layers; otherwise it is unclear which is which.
 */
function byName(fresh: readonly Slot[], waiting: readonly LayerState[]): Map<Slot, LayerState> {
  const placed = new Map<Slot, LayerState>();
  for (const [likeness, slots] of grouped(fresh)) {
    const states = grouped(waiting).get(likeness) ?? [];
    const same = slots.flatMap((slot) => {
      const state = states.find(({ name }) => name === slot.name);
      return state === undefined ? [] : [[slot, state] as const];
    });
    for (const [slot, state] of same) placed.set(slot, state);
    if (same.length > 0 || slots.length !== states.length) continue;
    const inOrder = [...states].sort((a, b) => suffixOf(a) - suffixOf(b));
    [...slots]
      .sort((a, b) => suffixOf(a) - suffixOf(b))
      .forEach((slot, index) => placed.set(slot, inOrder[index]!));
  }
  // Numbers that are the same by chance, of variables made in another order: all are known, or none.
  const automatic = fresh.filter(isAutomatic);
  if (!automatic.every((slot) => placed.has(slot))) {
    for (const slot of automatic) placed.delete(slot);
  }
  return placed;
}

function grouped<Item extends { name: string | null; shape: readonly number[] }>(
  items: readonly Item[],
): Map<string, Item[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const likeness = likenessOf(item);
    groups.set(likeness, [...(groups.get(likeness) ?? []), item]);
  }
  return groups;
}

function byPosition(fresh: readonly Slot[], waiting: readonly LayerState[]): Map<Slot, LayerState> {
  const nameOf = ({ name }: { name: string | null }): string => (name ?? "").replace(SUFFIX, "");
  const known = new Set(waiting.filter((state) => !isAutomatic(state)).map(nameOf));
  const agree =
    fresh.length === waiting.length &&
    fresh.every(({ shape }, i) => shape.join() === waiting[i]!.shape.join()) &&
    !fresh.some((slot) => known.has(nameOf(slot)));
  return new Map(agree ? fresh.map((slot, index) => [slot, waiting[index]!]) : []);
}

/** A name that is not taken yet, and takes it: the given one, or one that differs in its suffix, which matching ignores. */
function freeName(name: string, taken: Set<string | null>): string {
  let free = name;
  for (let suffix = 1; taken.has(free); suffix++) {
    free = `${name.replace(SUFFIX, "")}_${String(suffix)}`;
  }
  taken.add(free);
  return free;
}

/** Not the arrays themselves, which tensors would be made of. */
function copyUnder(name: string, { momentum, gradientHistory, ...rest }: LayerState): LayerState {
  return {
    ...rest,
    name,
    momentum:
      momentum?.kind === "blockwise"
        ? { ...momentum, codes: momentum.codes.slice(), absmax: momentum.absmax.slice() }
        : momentum && { ...momentum, values: momentum.values.slice() },
    gradientHistory: gradientHistory?.slice() ?? null,
  };
}
