// Every operation on every rank; prints a hash of what each rank has.
import { createHash } from "node:crypto";
import { Parameter } from "layerwise";
import { Mpi } from "layerwise/mpi";

const job = await Mpi.init(JSON.parse(process.argv[2] ?? "{}"));
const { rank, size } = job;
const hash = createHash("sha256");
const add = (...arrays) => {
  for (const array of arrays)
    hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
};
/** Values whose sum depends on the order. A leaf is one of 8, so that jobs of 1, 2, 4 and 8 have the same leaves. */
const leaf = (number, length) =>
  Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9 + number * 78.2) * 10 ** (number % 5));
const treeSum = (begin, end, length) => {
  if (end - begin === 1) return leaf(begin, length);
  const middle = (begin + end) / 2;
  const [left, right] = [treeSum(begin, middle, length), treeSum(middle, end, length)];
  return left.map((value, i) => value + right[i]);
};
const share = 8 / size;
const parameter = Parameter.allocate([100_003]);
const lengths = [1, 300, 5, 40_000];
const check = (isRight, what) => {
  if (!isRight) throw new Error(`rank ${rank}: ${what} is wrong`);
};

if (Number.isInteger(Math.log2(size))) {
  const [begin, end] = [rank * share, (rank + 1) * share];
  parameter.grad.set(treeSum(begin, end, parameter.size));
  const others = lengths.map((length) => treeSum(begin, end, length));
  job.allReduce(parameter.grad);
  job.allReduce(others);
  add(parameter.grad, ...others);
} else {
  parameter.grad.fill(rank + 1);
  job.allReduce(parameter.grad);
  check(
    parameter.grad.every((value) => value === (size * (size + 1)) / 2),
    "allReduce",
  );
}

const counts = Array.from({ length: size }, (_, i) => (i === 1 ? 0 : i + 1));
const total = counts.reduce((sum, count) => sum + count, 0);
const ownAt = counts.slice(0, rank).reduce((sum, count) => sum + count, 0);
for (const type of [Float32Array, Float64Array, Uint8Array, Int32Array, Uint32Array]) {
  const values = new type(total);
  values.fill(rank + 1, ownAt, ownAt + counts[rank]);
  job.allGather(values, counts);
  const expected = counts.flatMap((count, i) => Array(count).fill(i + 1));
  check(
    expected.every((value, i) => values[i] === value),
    `allGather of ${type.name}`,
  );
  const sent = type.from([rank + 10, 7]);
  job.broadcast(sent, size - 1);
  check(sent[0] === size + 9 && sent[1] === 7, `broadcast of ${type.name}`);
}
const scattered = new Float32Array(total).fill(1);
job.reduceScatter(scattered, counts);
check(
  scattered.subarray(ownAt, ownAt + counts[rank]).every((value) => value === size),
  "reduceScatter",
);
job.barrier();
process.stdout.write(
  `${JSON.stringify({ rank, size, name: job.name, local: [job.localRank, job.localSize], hash: hash.digest("hex") })}\n`,
);
job.finalize();
