/**
 * Who owns which part of which layer. The layers of a sequence, cut into the chunks of their sums, are dealt out in
 * their order: each process owns a contiguous part, of as many elements as the others to within a chunk.
 */
import { CHUNK_SIZE } from "../../kernels/kernel.js";

/** What a process owns of a layer: elements from `begin` up to `end`, whole chunks. Empty: begin = end. */
export interface Shard {
  readonly begin: number;
  readonly end: number;
}

/** The shards of one layer, by rank. */
export type Shards = readonly Shard[];

/**
 * Deals out layers.
 *
 * @param sizes elements of each layer
 * @param owned elements that each process has of earlier sequences, by rank: these parts level that out
 * @returns the shards of each layer
 */
export function partition(sizes: readonly number[], owned: readonly number[]): Shards[] {
  const ends = partEnds(
    sizes.reduce((sum, size) => sum + size, 0),
    owned,
  );
  let start = 0;
  let rank = 0;
  return sizes.map((size) => {
    const shards = owned.map(() => ({ begin: 0, end: 0 }));
    for (let begin = 0; begin < size; begin += CHUNK_SIZE) {
      // A chunk belongs to the part that it begins in.
      while (start + begin >= ends[rank]!) rank++;
      const end = Math.min(begin + CHUNK_SIZE, size);
      const shard = shards[rank]!;
      shards[rank] = { begin: shard.end === 0 ? begin : shard.begin, end };
    }
    start += size;
    return shards;
  });
}

/** Where each process's part of a sequence ends, before it is rounded to chunks. */
function partEnds(total: number, owned: readonly number[]): number[] {
  const level = levelOf(total, owned);
  let end = 0;
  const ends = owned.map((has) => (end += Math.max(0, level - has)));
  ends[ends.length - 1] = Infinity;
  return ends;
}

/** How much each process has in the end, unless it had more before. */
function levelOf(total: number, owned: readonly number[]): number {
  const ascending = [...owned].sort((a, b) => a - b);
  let sum = total;
  for (let count = 1; count <= ascending.length; count++) {
    sum += ascending[count - 1]!;
    const level = sum / count;
    if (count === ascending.length || level <= ascending[count]!) return level;
  }
  return 0;
}
