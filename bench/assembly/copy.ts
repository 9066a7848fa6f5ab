// The yardstick: as many bytes as a step moves, moved by the plainest SIMD loop, on any number of threads.

const BYTES_PER_TURN: usize = 64;

/** A job, as it lies in the shared memory: chunks are taken in order by whoever is free. */
const NEXT: usize = 0;
const DONE: usize = 4;
const COUNT: usize = 8;
const CHUNK_BYTES: usize = 12;
const LAST_BYTES: usize = 16;
const FROM: usize = 20;
const TO: usize = 24;

function copyChunk(to: usize, from: usize, bytes: usize): void {
  const end = from + bytes;
  while (from < end) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    v128.store(to, v128.load(from, 32), 32);
    v128.store(to, v128.load(from, 48), 48);
    from += BYTES_PER_TURN;
    to += BYTES_PER_TURN;
  }
}

/** Copies chunks of the job until there are none left to take. */
export function work(job: usize): void {
  const count = load<u32>(job, COUNT);
  const chunkBytes = load<usize>(job, CHUNK_BYTES);
  for (;;) {
    const chunk = atomic.add<u32>(job + NEXT, 1);
    if (chunk >= count) return;
    const offset = <usize>chunk * chunkBytes;
    const bytes = chunk === count - 1 ? load<usize>(job, LAST_BYTES) : chunkBytes;
    copyChunk(load<usize>(job, TO) + offset, load<usize>(job, FROM) + offset, bytes);
    atomic.add<u32>(job + DONE, 1);
  }
}
