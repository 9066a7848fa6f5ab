// Arrays longer than a message, by a transport whose messages are short: what MPI's 32-bit counts make of arrays beyond 1 GiB.
import koffi from "koffi";

const internal = (file) =>
  import(new URL(`./distributed/mpi/${file}.js`, import.meta.resolve("layerwise/mpi")));
const { abiOf } = await internal("abi");
const { launcherOf } = await internal("launcher");
const { findLibrary } = await internal("library");
const { MpiTransport } = await internal("mpi-transport");

/** No multiple of 8: a message may end inside a number. */
const MESSAGE_BYTES = 1000;
const LENGTH = 1234;

const found = findLibrary(koffi, launcherOf(process.env), process);
const calls = new Map();
/** The library, which counts its calls. */
const library = {
  symbol: (...args) => found.library.symbol(...args),
  func: (name, ...signature) => {
    const call = found.library.func(name, ...signature);
    return (...args) => {
      calls.set(name, (calls.get(name) ?? 0) + 1);
      return call(...args);
    };
  },
};
const transport = new MpiTransport(
  { ...found, library },
  abiOf(found.kind, library),
  MESSAGE_BYTES,
);
const { rank, size } = transport;
const [next, previous] = [(rank + 1) % size, (rank - 1 + size) % size];

const expectThat = (isRight, what) => {
  if (!isRight) throw new Error(`rank ${rank}: ${what} is wrong`);
};
/** Calls of MPI that some work makes. */
const countCalls = (name, work) => {
  const before = calls.get(name) ?? 0;
  work();
  return (calls.get(name) ?? 0) - before;
};
const messages = (array) => Math.max(1, Math.ceil(array.byteLength / MESSAGE_BYTES));
const value = (from, i) => (from + 1) * 10_000 + i;
const holds = (array, from) => array.every((number, i) => number === value(from, i));

// In shared WebAssembly memory, away from its beginning, between numbers that must stay.
const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
for (const type of [Float32Array, Float64Array, Int32Array, Uint32Array]) {
  const all = new type(memory.buffer, 64, LENGTH + 2).fill(7);
  const received = all.subarray(1, -1);
  const sent = type.from({ length: LENGTH }, (_, i) => value(rank, i));
  const isUntouched = () => all[0] === 7 && all[LENGTH + 1] === 7;

  const exchanges = countCalls("MPI_Sendrecv", () => {
    transport.exchange({ array: sent, to: next }, { array: received, from: previous });
  });
  expectThat(exchanges === messages(sent), `the number of messages of ${type.name}`);
  expectThat(holds(received, previous) && isUntouched(), `exchange of ${type.name}`);

  if (rank === 0) received.set(type.from({ length: LENGTH }, (_, i) => value(0, i)));
  const broadcasts = countCalls("MPI_Bcast", () => transport.broadcast(received, 0));
  expectThat(broadcasts === messages(received), `the number of broadcasts of ${type.name}`);
  expectThat(holds(received, 0) && isUntouched(), `broadcast of ${type.name}`);
}

// Neighbours whose arrays take different numbers of messages, of nothing too.
const lengthOf = (from) => (from % 2 === 0 ? LENGTH : (from % 4) - 1);
const uneven = new Float32Array(lengthOf(previous));
transport.exchange(
  { array: Float32Array.from({ length: lengthOf(rank) }, (_, i) => value(rank, i)), to: next },
  { array: uneven, from: previous },
);
expectThat(holds(uneven, previous), "exchange of unequal lengths");

const sums = Float32Array.from({ length: LENGTH }, (_, i) => i + rank);
const reductions = countCalls("MPI_Allreduce", () => transport.allReduce(sums));
expectThat(reductions === messages(sums), "the number of reductions");
expectThat(
  sums.every((sum, i) => sum === size * i + (size * (size - 1)) / 2),
  "allReduce",
);
transport.finalize();
if (rank === 0) process.stdout.write("right\n");
