/** Texts that processes tell each other, outside of the steps that must be fast. */
import type { Collective } from "./collective.js";

/** Every process's text, by rank. */
export function gatherTexts(collective: Collective, text: string): string[] {
  const own = new TextEncoder().encode(text);
  const lengths = new Uint32Array(collective.size);
  lengths[collective.rank] = own.length;
  collective.allGather(
    lengths,
    Array.from(lengths, () => 1),
  );
  const ends = Array.from(lengths);
  for (let rank = 1; rank < ends.length; rank++) ends[rank]! += ends[rank - 1]!;
  const bytes = new Uint8Array(ends.at(-1)!);
  bytes.set(own, ends[collective.rank]! - own.length);
  if (bytes.length > 0) collective.allGather(bytes, Array.from(lengths));
  return ends.map((end, rank) => decoded(bytes.subarray(end - lengths[rank]!, end)));
}

/** Rank 0's text, on every process. */
export function broadcastText(collective: Collective, text: string): string {
  const own = new TextEncoder().encode(text);
  const length = Uint32Array.of(own.length);
  collective.broadcast(length);
  const bytes = collective.rank === 0 ? own : new Uint8Array(length[0]!);
  if (bytes.length > 0) collective.broadcast(bytes);
  return decoded(bytes);
}

/** A decoder takes no views of shared memory, so it gets a copy. */
function decoded(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.slice());
}
