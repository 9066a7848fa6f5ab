/** Messages by an MPI library. Arrays go by address: nothing is copied, and everything happens in place. */
import type { NumberArray } from "../collective.js";
import type { Transport } from "../tree/transport.js";
import type { Abi } from "./abi.js";
import type { Native } from "./koffi.js";
import type { FoundLibrary } from "./library.js";

const TAG = 0;
/** Counts of MPI are 32-bit numbers. Larger arrays travel in messages of 1 GiB. */
const MESSAGE_BYTES = 2 ** 30;
/** MPICH's launcher loses what was printed just before an abort. */
const ABORT_DELAY_MS = 200;
/** MPI_MAX_ERROR_STRING is at most this. */
const ERROR_BYTES = 512;

/** The functions that are called, by their names in MPI. */
interface Functions {
  readonly MPI_Sendrecv: Native;
  readonly MPI_Send: Native;
  readonly MPI_Recv: Native;
  readonly MPI_Bcast: Native;
  readonly MPI_Allgather: Native;
  readonly MPI_Allreduce: Native;
  readonly MPI_Barrier: Native;
  readonly MPI_Abort: Native;
  readonly MPI_Finalize: Native;
  readonly MPI_Error_string: Native;
}

/** Where this process is on its machine. */
export interface LocalPlace {
  readonly localRank: number;
  readonly localSize: number;
}

export class MpiTransport implements Transport, LocalPlace {
  readonly rank: number;
  readonly size: number;
  readonly name: string;
  readonly localRank: number;
  readonly localSize: number;
  readonly #abi: Abi;
  readonly #functions: Functions;
  readonly #messageBytes: number;
  #isFinalized = false;

  /**
   * Starts MPI.
   *
   * @param messageBytes the longest message
   */
  constructor({ library, name }: FoundLibrary, abi: Abi, messageBytes = MESSAGE_BYTES) {
    const { handle } = abi;
    const declare = (function_: string, parameters: readonly string[]): Native =>
      library.func(function_, "int", parameters);
    this.name = name;
    this.#abi = abi;
    this.#messageBytes = messageBytes;
    const message = ["void *", "int", handle, "int", "int"];
    this.#functions = {
      MPI_Sendrecv: declare("MPI_Sendrecv", [...message, ...message, handle, "intptr_t"]),
      MPI_Send: declare("MPI_Send", [...message, handle]),
      MPI_Recv: declare("MPI_Recv", [...message, handle, "intptr_t"]),
      MPI_Bcast: declare("MPI_Bcast", ["void *", "int", handle, "int", handle]),
      MPI_Allgather: declare("MPI_Allgather", [
        ...["void *", "int", handle],
        ...["void *", "int", handle],
        handle,
      ]),
      MPI_Allreduce: declare("MPI_Allreduce", [
        ...["intptr_t", "void *", "int"],
        ...[handle, handle, handle],
      ]),
      MPI_Barrier: declare("MPI_Barrier", [handle]),
      MPI_Abort: declare("MPI_Abort", [handle, "int"]),
      MPI_Finalize: declare("MPI_Finalize", []),
      MPI_Error_string: declare("MPI_Error_string", ["int", "uint8_t *", "int *"]),
    };
    const provided = new Int32Array(1);
    const init = declare("MPI_Init_thread", ["intptr_t", "intptr_t", "int", "int *"]);
    this.#check("MPI_Init_thread", init(0, 0, abi.funneled, provided));
    const onError = declare("MPI_Comm_set_errhandler", [handle, handle]);
    this.#check("MPI_Comm_set_errhandler", onError(abi.world, abi.errorsReturn));
    const placeIn = (communicator: unknown): [rank: number, size: number] => {
      const number = new Int32Array(1);
      return (["MPI_Comm_rank", "MPI_Comm_size"] as const).map((called) => {
        this.#check(called, declare(called, [handle, "int *"])(communicator, number));
        return number[0]!;
      }) as [number, number];
    };
    [this.rank, this.size] = placeIn(abi.world);
    const machine = handle === "int" ? new Int32Array(1) : new BigInt64Array(1);
    const split = declare("MPI_Comm_split_type", [handle, "int", "int", handle, "void *"]);
    this.#check("MPI_Comm_split_type", split(abi.world, abi.shared, 0, abi.noInfo, machine));
    [this.localRank, this.localSize] = placeIn(machine[0]);
    this.#check("MPI_Comm_free", declare("MPI_Comm_free", ["void *"])(machine));
  }

  exchange(
    sent: { readonly array: NumberArray; readonly to: number },
    received: { readonly array: NumberArray; readonly from: number },
  ): void {
    const out = this.#messages(sent.array);
    const into = this.#messages(received.array);
    const { byte, world, noStatus } = this.#abi;
    for (let index = 0; index < Math.max(out.length, into.length); index++) {
      const [from, to] = [out[index], into[index]];
      const send = from === undefined ? [] : [from, from.length, byte, sent.to, TAG];
      const receive = to === undefined ? [] : [to, to.length, byte, received.from, TAG];
      if (from === undefined) this.#call("MPI_Recv", ...receive, world, noStatus);
      else if (to === undefined) this.#call("MPI_Send", ...send, world);
      else this.#call("MPI_Sendrecv", ...send, ...receive, world, noStatus);
    }
  }

  broadcast(array: NumberArray, root: number): void {
    const { byte, world } = this.#abi;
    for (const bytes of this.#messages(array)) {
      this.#call("MPI_Bcast", bytes, bytes.length, byte, root, world);
    }
  }

  allGather(part: NumberArray, all: NumberArray): void {
    const { byte, world } = this.#abi;
    const { byteLength } = part;
    this.#call("MPI_Allgather", part, byteLength, byte, all, byteLength, byte, world);
  }

  allReduce(array: Float32Array): void {
    const { float, sum, world, inPlace } = this.#abi;
    const most = Math.floor(this.#messageBytes / 4);
    for (let at = 0; at < array.length; at += most) {
      const part = array.subarray(at, at + most);
      this.#call("MPI_Allreduce", inPlace, part, part.length, float, sum, world);
    }
  }

  barrier(): void {
    this.#call("MPI_Barrier", this.#abi.world);
  }

  abort(code: number): never {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ABORT_DELAY_MS);
    this.#functions.MPI_Abort(this.#abi.world, code);
    // MPI_Abort ends this process too, at the latest when its launcher does.
    throw new Error("MPI_Abort: expected the end of the process");
  }

  finalize(): void {
    this.#call("MPI_Finalize");
    this.#isFinalized = true;
  }

  get isFinalized(): boolean {
    return this.#isFinalized;
  }

  /** An array as bytes, in messages that MPI can count; one message of nothing for an array without elements. */
  #messages({ buffer, byteOffset, byteLength }: NumberArray): Uint8Array[] {
    const count = Math.max(1, Math.ceil(byteLength / this.#messageBytes));
    return Array.from({ length: count }, (_, index) => {
      const at = index * this.#messageBytes;
      const length = Math.min(this.#messageBytes, byteLength - at);
      return new Uint8Array(buffer, byteOffset + at, length);
    });
  }

  #call(name: keyof Functions, ...args: unknown[]): void {
    if (this.#isFinalized) {
      throw new Error(`${name}: expected a job in progress, got one that finalize() has ended`);
    }
    this.#check(name, this.#functions[name](...args));
  }

  #check(name: string, code: unknown): void {
    if (code === 0) return;
    const text = new Uint8Array(ERROR_BYTES);
    const length = new Int32Array(1);
    this.#functions.MPI_Error_string(code, text, length);
    const shown = new TextDecoder().decode(text.subarray(0, length[0]));
    throw new Error(`${name}: expected success, got error ${String(code)}: ${shown}`);
  }
}
