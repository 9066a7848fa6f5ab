/**
 * Binary interfaces of MPI libraries: MPI standardises names, and until version 5 left the values behind them to each
 * library.
 *
 * Sources: mpi.h of Open MPI 4.1 (handles are addresses of variables; Open MPI 5 has kept them), of MPICH 4.0 (handles
 * are integers; Intel MPI, MVAPICH and Cray MPICH share them by the MPICH ABI initiative), and of the MPI 5.0 standard,
 * chapter 20 (github.com/mpi-forum/mpi-abi-stubs). The last could not be tried: no library with it was to be had.
 */
import type { NativeLibrary } from "./koffi.js";

export type LibraryKind = "Open MPI" | "MPICH" | "the standard ABI";

export interface Abi {
  readonly kind: LibraryKind;
  /** The C type of a handle. */
  readonly handle: "intptr_t" | "int";
  readonly world: unknown;
  readonly byte: unknown;
  readonly float: unknown;
  readonly sum: unknown;
  readonly noInfo: unknown;
  /** Errors become return values. */
  readonly errorsReturn: unknown;
  /** MPI_IN_PLACE, an address. */
  readonly inPlace: number;
  /** MPI_STATUS_IGNORE, an address. */
  readonly noStatus: number;
  /** MPI_COMM_TYPE_SHARED: processes that share memory. */
  readonly shared: number;
  /** MPI_THREAD_FUNNELED: the program has threads, of which one calls MPI. */
  readonly funneled: number;
}

export function abiOf(kind: LibraryKind, library: NativeLibrary): Abi {
  switch (kind) {
    case "Open MPI": {
      const at = (name: string): unknown => library.symbol(`ompi_mpi_${name}`, "void *");
      return {
        kind,
        handle: "intptr_t",
        world: at("comm_world"),
        byte: at("byte"),
        float: at("float"),
        sum: at("op_sum"),
        noInfo: at("info_null"),
        errorsReturn: at("errors_return"),
        inPlace: 1,
        noStatus: 0,
        shared: 0,
        funneled: 1,
      };
    }
    case "MPICH":
      return {
        kind,
        handle: "int",
        world: 0x44000000,
        byte: 0x4c00010d,
        float: 0x4c00040a,
        sum: 0x58000003,
        noInfo: 0x1c000000,
        errorsReturn: 0x54000001,
        inPlace: -1,
        noStatus: 1,
        shared: 1,
        funneled: 1,
      };
    case "the standard ABI":
      return {
        kind,
        handle: "intptr_t",
        world: 0x101,
        byte: 0x247,
        float: 0x210,
        sum: 0x21,
        noInfo: 0x130,
        errorsReturn: 0x143,
        inPlace: 1,
        noStatus: 0,
        shared: 221,
        funneled: 1024,
      };
  }
}
