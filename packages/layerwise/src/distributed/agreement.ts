/**
 * What all processes must have alike, compared before it can do harm: everything at the start, and in each step what may
 * have changed. Whatever is wrong on one process is thrown on all, with the same words.
 */
import { VERSION } from "../version.js";
import { warnOnce } from "../warn.js";
import { Fingerprint } from "./checksum.js";
import type { Collective } from "./collective.js";
import { instructionSet } from "./instruction-set.js";
import { broadcastText, gatherTexts } from "./texts.js";

/** Something that all processes must have alike: layer "conv1" has shape [3, 3]. */
export interface Fact {
  /** What it is about: `layer "conv1"`. */
  readonly of: string;
  /** `shape`. */
  readonly what: string;
  /** As an error shows it: `[3, 3]`. */
  readonly value: string;
}

/**
 * Compares facts, and the library's version, over all processes. Where instruction sets differ, rank 0 warns once: see
 * instruction-set.ts.
 *
 * @param describe the same facts in the same order on every process; what it throws counts too
 * @throws Error on every process, with the same message: "rank 3: layer "conv1": expected shape [3, 3], as on rank 0,
 *   got [3, 4]"; what `describe` throws keeps its kind, TypeError or RangeError
 */
export function agreeOnJob(collective: Collective, describe: () => readonly Fact[]): void {
  const version = { of: "layerwise", what: "version", value: VERSION };
  const facts = together(collective, () => [version, ...describe()]);
  if (collective.size === 1) return;
  const expected = JSON.parse(broadcastText(collective, JSON.stringify(facts))) as Fact[];
  const difference = firstDifference(facts, expected);
  throwAny(collective, difference === null ? undefined : new Error(difference));
  compareInstructionSets(collective);
}

function firstDifference(facts: readonly Fact[], expected: readonly Fact[]): string | null {
  for (let index = 0; index < Math.max(facts.length, expected.length); index++) {
    const [own, other] = [facts[index], expected[index]];
    if (own === undefined) return `expected ${shownFact(other!)}, as on rank 0, got nothing`;
    if (other === undefined) return `expected nothing more, as on rank 0, got ${shownFact(own)}`;
    if (own.of !== other.of || own.what !== other.what) {
      return `expected ${shownFact(other)}, as on rank 0, got ${shownFact(own)}`;
    }
    if (own.value !== other.value) {
      return `${own.of}: expected ${own.what} ${other.value}, as on rank 0, got ${own.value}`;
    }
  }
  return null;
}

function shownFact({ of, what, value }: Fact): string {
  return `${of}: ${what} ${value}`;
}

function compareInstructionSets(collective: Collective): void {
  const sets = gatherTexts(collective, instructionSet());
  if (collective.rank !== 0 || sets.every((set) => set === sets[0])) return;
  const list = groupedRanks(sets).map(([set, ranks]) => `${set} on ${shownRanks(ranks)}`);
  warnOnce(
    `the processors of this job differ: ${list.join("; ")}. Gradients from an engine that uses relaxed SIMD may differ in their last bits from those of another job; the same bits for any number of processes are not promised`,
  );
}

/** What one process brings to a step. */
export interface LocalStep {
  /** Whether each layer has a gradient here. */
  readonly gradients: readonly boolean[];
  /** Of all that must be alike in this step: {@link Fingerprint}. */
  readonly fingerprint: number;
  /** Why this process can't make the step; undefined if it can. */
  readonly error: unknown;
}

/** Numbers that each process tells in a step: whether it has an error, its fingerprint, and that of its gradients. */
const NUMBERS = 3;

/**
 * What processes tell each other in every step, in one exchange of 24 bytes a process. Only where they differ is there
 * more to tell.
 */
export class StepAgreement {
  readonly #collective: Collective;
  readonly #describe: () => readonly Fact[];
  readonly #numbers: Float64Array;
  readonly #counts: readonly number[];
  readonly #fingerprint = new Fingerprint();

  /** @param describe all that the fingerprints are of, to find what differs */
  constructor(collective: Collective, describe: () => readonly Fact[]) {
    this.#collective = collective;
    this.#describe = describe;
    this.#numbers = new Float64Array(NUMBERS * collective.size);
    this.#counts = Array.from({ length: collective.size }, () => NUMBERS);
  }

  /**
   * @returns which layers have a gradient on any process
   * @throws on every process, with the same message, if one has an error or fingerprints differ. A process alone
   *   throws its own error
   */
  agree({ gradients, fingerprint, error }: LocalStep): readonly boolean[] {
    const { rank, size } = this.#collective;
    if (size === 1) {
      throwAny(this.#collective, error);
      return gradients;
    }
    const numbers = this.#numbers;
    numbers[NUMBERS * rank] = error === undefined ? 0 : 1;
    numbers[NUMBERS * rank + 1] = fingerprint;
    numbers[NUMBERS * rank + 2] = this.#fingerprintOf(gradients);
    this.#collective.allGather(numbers, this.#counts);
    if (this.#differ(0) || error !== undefined) throwAny(this.#collective, error);
    if (this.#differ(1)) this.#throwDifference();
    return this.#differ(2) ? anyGradient(this.#collective, gradients) : gradients;
  }

  /** Whether processes told different numbers. */
  #differ(place: number): boolean {
    const numbers = this.#numbers;
    for (let at = NUMBERS + place; at < numbers.length; at += NUMBERS) {
      if (numbers[at] !== numbers[place]) return true;
    }
    return false;
  }

  #fingerprintOf(gradients: readonly boolean[]): number {
    for (const has of gradients) this.#fingerprint.add(has);
    return this.#fingerprint.finish();
  }

  #throwDifference(): never {
    const fingerprints = this.#counts.map((_, rank) => this.#numbers[NUMBERS * rank + 1]);
    agreeOnJob(this.#collective, this.#describe);
    const list = groupedRanks(fingerprints).map(([, ranks]) => shownRanks(ranks));
    throw new Error(
      `step: expected the same layers, options and rates on all ranks, got different ones on ${list.join(" than on ")}`,
    );
  }
}

/** Which layers have a gradient on any process. */
function anyGradient(collective: Collective, gradients: readonly boolean[]): boolean[] {
  const { rank, size } = collective;
  const { length } = gradients;
  const flags = new Uint8Array(size * length);
  flags.set(gradients.map(Number), rank * length);
  collective.allGather(
    flags,
    Array.from({ length: size }, () => length),
  );
  return gradients.map((_, layer) => {
    for (let at = layer; at < flags.length; at += length) if (flags[at] === 1) return true;
    return false;
  });
}

/**
 * Does something on every process.
 *
 * @throws on every process, with the same message, what `work` throws on any of them
 */
export function together<Result>(collective: Collective, work: () => Result): Result {
  let outcome: { readonly result: Result } | undefined;
  let error: unknown;
  try {
    outcome = { result: work() };
  } catch (thrown) {
    error = thrown;
  }
  throwAny(collective, error);
  return outcome!.result;
}

/** Throws on every process if one has an error: the same message, with the ranks. A process alone throws its own. */
function throwAny(collective: Collective, error: unknown): void {
  if (collective.size === 1) {
    if (error !== undefined) throw error as Error;
    return;
  }
  const texts = gatherTexts(collective, error === undefined ? "" : packed(error));
  const groups = groupedRanks(texts).filter(([text]) => text !== "");
  if (groups.length === 0) return;
  const lines = groups.slice(0, MOST_LINES).map(([text, ranks]) => {
    const place = ranks.length === collective.size ? "all ranks" : shownRanks(ranks);
    return `${place}: ${text.slice(text.indexOf("\n") + 1)}`;
  });
  if (groups.length > MOST_LINES) lines.push("…");
  const kind = KINDS.find(({ name }) => groups[0]![0].startsWith(`${name}\n`)) ?? Error;
  throw new kind(lines.join("\n"), error === undefined ? {} : { cause: error });
}

const KINDS = [TypeError, RangeError, Error];
const MOST_LINES = 8;
const MOST_CHARACTERS = 2000;

/** An error's kind and message, as it travels. */
function packed(error: unknown): string {
  const kind = KINDS.find((candidate) => error instanceof candidate) ?? Error;
  const message = error instanceof Error ? error.message : String(error);
  return `${kind.name}\n${message.slice(0, MOST_CHARACTERS)}`;
}

/** Ranks by what they said, in the order of the first that said it. */
export function groupedRanks<Said>(said: ArrayLike<Said>): [said: Said, ranks: number[]][] {
  const groups = new Map<Said, number[]>();
  for (let rank = 0; rank < said.length; rank++) {
    const ranks = groups.get(said[rank]!);
    if (ranks === undefined) groups.set(said[rank]!, [rank]);
    else ranks.push(rank);
  }
  return [...groups];
}

/** "rank 3", "ranks 0 and 2", "ranks 0, 2 and 4 to 7". */
export function shownRanks(ranks: readonly number[]): string {
  const runs: [first: number, last: number][] = [];
  for (const rank of ranks) {
    const run = runs.at(-1);
    if (run?.[1] === rank - 1) run[1] = rank;
    else runs.push([rank, rank]);
  }
  const parts = runs.flatMap(([first, last]) =>
    last - first > 1
      ? [`${first} to ${last}`]
      : first === last
        ? [`${first}`]
        : [`${first}`, `${last}`],
  );
  const start = ranks.length === 1 ? "rank" : "ranks";
  const end = parts.pop()!;
  return `${start} ${parts.length === 0 ? end : `${parts.join(", ")} and ${end}`}`;
}
