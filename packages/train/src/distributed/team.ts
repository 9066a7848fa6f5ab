/**
 * The processes that train one model together. Every process makes the same calls in the same order. A process alone is a
 * team of one, for which every call is its work and nothing else.
 */
import type * as mpi from "layerwise/mpi";
import type { Collective, Fact } from "layerwise/mpi";
import { UsageError, messageOf } from "../errors.js";
import type { Share } from "../gradients/summation-tree.js";
import { packed, unpacked } from "./packed-error.js";
import type { PackedError } from "./packed-error.js";

/** The part of the library that only teams need: loaded where there is one. */
export type MpiLibrary = typeof mpi;

/** Processes, and what they need of the library. */
export interface Members {
  readonly collective: Collective;
  readonly library: MpiLibrary;
}

/** Errors that were thrown on all processes alike. */
const shared = new WeakSet<object>();

/** Whether every process got the error; one that it does not hold for ends the whole job. */
export function isShared(error: unknown): boolean {
  return typeof error === "object" && error !== null && shared.has(error);
}

/** Marks an error that every process throws at the same place. */
export function asShared<Thrown extends Error>(error: Thrown): Thrown {
  shared.add(error);
  return error;
}

export class Team implements Share {
  readonly #collective: Collective | null;
  /** null for a process alone, even if a launcher started it. */
  readonly #members: Members | null;

  private constructor(collective: Collective | null, members: Members | null) {
    this.#collective = collective;
    this.#members = members;
  }

  static alone(): Team {
    return new Team(null, null);
  }

  static of(members: Members): Team {
    const { collective } = members;
    return new Team(collective, collective.size === 1 ? null : members);
  }

  get rank(): number {
    return this.#members?.collective.rank ?? 0;
  }

  get size(): number {
    return this.#members?.collective.size ?? 1;
  }

  /** Whether this process owns the run's folder, and speaks for all. */
  get isFirst(): boolean {
    return this.rank === 0;
  }

  /** The library and the collective of the processes; null for a process alone. */
  get members(): Members | null {
    return this.#members;
  }

  /**
   * Does something on every process.
   *
   * @throws on every process what `work` throws on any; where they differ, with the ranks
   */
  together<Result>(work: () => Result): Result {
    if (this.#members === null) return work();
    const { collective, library } = this.#members;
    let done: { readonly result: Result } | { readonly error: unknown };
    try {
      done = { result: work() };
    } catch (error) {
      done = { error };
    }
    const text = "error" in done ? JSON.stringify(packed(done.error)) : "";
    const texts = library.gatherTexts(collective, text);
    if (!texts.every((other) => other === text)) throw asShared(differingErrors(texts));
    if ("result" in done) return done.result;
    throw asShared(done.error instanceof Error ? done.error : new Error(messageOf(done.error)));
  }

  /**
   * Does something on the first process.
   *
   * @returns its result there, null elsewhere
   * @throws on every process what `work` throws
   */
  onFirst<Result>(work: () => Result): Result | null {
    if (this.#members === null) return work();
    const { collective, library } = this.#members;
    let result: Result | null = null;
    let failure: { readonly error: Error } | null = null;
    if (this.isFirst) {
      try {
        result = work();
      } catch (error) {
        failure = { error: error instanceof Error ? error : new Error(messageOf(error)) };
      }
    }
    const own = failure === null ? "" : JSON.stringify(packed(failure.error));
    const text = library.broadcastText(collective, own);
    if (text === "") return result;
    throw asShared(failure?.error ?? unpacked(JSON.parse(text) as PackedError));
  }

  /** Does something on the first process and gives the result, which JSON can say, to all. */
  fromFirst<Result>(work: () => Result): Result {
    if (this.#members === null) return work();
    const { collective, library } = this.#members;
    const result = this.onFirst(work);
    const text = library.broadcastText(collective, this.isFirst ? JSON.stringify(result) : "");
    return this.isFirst ? result! : (JSON.parse(text) as Result);
  }

  /** Reads bytes on the first process and gives them to all; null for none. */
  bytesFromFirst(read: () => Uint8Array | null): Uint8Array | null {
    if (this.#members === null) return read();
    const { collective } = this.#members;
    const own = this.onFirst(read);
    const length = this.fromFirst(() => own?.length ?? null);
    if (length === null) return null;
    const bytes = own ?? new Uint8Array(length);
    if (length > 0) collective.broadcast(bytes);
    return bytes;
  }

  /** Every process's numbers: those of rank 0, then those of rank 1, … @param counts numbers of each rank */
  gather(own: readonly number[], counts: readonly number[]): Float64Array {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const all = new Float64Array(total);
    const begin = counts.slice(0, this.rank).reduce((sum, count) => sum + count, 0);
    all.set(own, begin);
    if (this.#members !== null && total > 0) this.#members.collective.allGather(all, counts);
    return all;
  }

  /** The same for one number of each rank. */
  gatherOne(own: number): number[] {
    const counts = Array.from({ length: this.size }, () => 1);
    return [...this.gather([own], counts)];
  }

  /** Adds up arrays over all processes, in the order of the tree over ranks. */
  sum(arrays: readonly Float32Array[]): void {
    this.#members?.collective.allReduce(arrays);
  }

  /**
   * Compares what all processes must have alike, and the version of the library.
   *
   * @throws UsageError on every process that names the rank and what differs
   */
  agree(facts: readonly Fact[]): void {
    if (this.#members === null) return;
    const { collective, library } = this.#members;
    try {
      library.agreeOnJob(collective, () => facts);
    } catch (error) {
      throw asShared(new UsageError(messageOf(error), { cause: error }));
    }
  }

  /** Every process's text. */
  texts(own: string): string[] {
    if (this.#members === null) return [own];
    return this.#members.library.gatherTexts(this.#members.collective, own);
  }

  /** Leaves the job: the last call of a process that ends well, or for a reason that all have. */
  leave(): void {
    this.#collective?.finalize();
  }

  /** Ends all processes because this one can't go on. */
  abort(message: string): void {
    this.#collective?.abort(message);
  }
}

/** One error for what processes threw, "" for those that did not. */
function differingErrors(texts: readonly string[]): Error {
  const errors = texts.flatMap((text, rank) =>
    text === "" ? [] : [{ rank, error: JSON.parse(text) as PackedError }],
  );
  const { kind } = errors[0]!.error;
  const message = errors.map(({ rank, error }) => `rank ${rank}: ${error.message}`).join("; ");
  return unpacked({ kind, message });
}
