// Mpi.init() where nothing can be added to the heap, since another mapping begins right above it.
import koffi from "koffi";
import { Mpi } from "layerwise/mpi";

const PAGE = 4096;
const libc = koffi.load("libc.so.6");
const sbrk = libc.func("sbrk", "intptr_t", ["intptr_t"]);
const mmap = libc.func("mmap", "intptr_t", [
  ...["uintptr_t", "size_t", "int", "int", "int", "intptr_t"],
]);
const [NOTHING, PRIVATE, ANONYMOUS, FIXED_IF_FREE] = [0, 0x02, 0x20, 0x100000];
const above = Math.ceil(Number(sbrk(0)) / PAGE) * PAGE;
mmap(above, PAGE, NOTHING, PRIVATE | ANONYMOUS | FIXED_IF_FREE, -1, 0);
const heapEnd = Number(sbrk(0));
if (Number(sbrk(PAGE)) !== -1) throw new Error("the heap still grows");

const job = await Mpi.init();
job.barrier();
if (Number(sbrk(0)) < heapEnd) throw new Error("the heap has lost memory");
if (job.rank === 0) console.log("the heap is whole");
job.finalize();
