/** Which library is taken, among those that a machine has. The libraries here answer one question: their version. */
import { expect, it } from "vitest";
import type { Koffi } from "../../../src/distributed/mpi/koffi.js";
import type { LaunchedKind } from "../../../src/distributed/mpi/launcher.js";
import { findLibrary } from "../../../src/distributed/mpi/library.js";
import type { NodeProcess } from "../../../src/distributed/mpi/node.js";

const OPEN_MPI = "Open MPI v5.0.7, package: Debian OpenMPI, ident: 5.0.7";
const MPICH = "MPICH Version:\t4.0.2\nMPICH Release date:\tThu Apr  7 12:34:45 CDT 2022";
const INTEL = "Intel(R) MPI Library 2021.14 for Linux* OS";
const CRAY = "MPI VERSION    : CRAY MPICH version 8.1.29.8";

/** A machine with files that load, by name. */
function machineWith(files: Readonly<Record<string, string>>): Koffi {
  return {
    load: (path) => {
      const version = files[path];
      if (version === undefined) throw new Error(`no ${path}`);
      return {
        symbol: () => 0,
        func: (name) => {
          if (name !== "MPI_Get_library_version" || version === "") throw new Error(`no ${name}`);
          return (text, length) => {
            const bytes = new TextEncoder().encode(version);
            (text as Uint8Array).set(bytes);
            (length as Int32Array)[0] = bytes.length;
            return 0;
          };
        },
      };
    },
  };
}

function find(
  kinds: readonly LaunchedKind[],
  files: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string>> = {},
): string {
  const process = { env, platform: "linux" } as unknown as NodeProcess;
  const { kind, name } = findLibrary(machineWith(files), { kinds, size: 2 }, process);
  return `${kind}: ${name}`;
}

const BOTH = { "libmpi.so.40": OPEN_MPI, "libmpich.so.12": MPICH };

it.each([
  ["Open MPI: Open MPI 5.0.7", ["Open MPI"], BOTH],
  ["MPICH: MPICH 4.0.2", ["MPICH"], BOTH],
  ["MPICH: MPICH 2021.14", ["MPICH"], { "libmpi.so.12": INTEL }],
  ["MPICH: MPICH 8.1.29.8", ["MPICH"], { "libmpi.so.12": CRAY }],
  ["MPICH: MPICH 4.0.2", ["MPICH", "Open MPI"], BOTH],
  ["Open MPI: Open MPI 5.0.7", ["MPICH", "Open MPI"], { "libmpi.so.40": OPEN_MPI }],
  // A file of the expected name that another library, or none, has taken.
  ["MPICH: MPICH 4.0.2", ["MPICH"], { "libmpich.so.12": OPEN_MPI, "libmpi.so.12": MPICH }],
  ["MPICH: MPICH 4.0.2", ["MPICH"], { "libmpich.so.12": "", "libmpi.so.12": MPICH }],
  ["the standard ABI: MPI library 5.0.7", ["Open MPI"], { "libmpi_abi.so.0": OPEN_MPI }],
  [
    "Open MPI: Open MPI 5.0.7",
    ["Open MPI"],
    { "libmpi_abi.so.0": OPEN_MPI, "libmpi.so.40": OPEN_MPI },
  ],
] as const)("%s for a launcher of %j", (found, kinds, files) => {
  expect(find(kinds, files)).toBe(found);
});

it("LAYERWISE_MPI_LIBRARY is the only one looked at", () => {
  const files = { ...BOTH, "/opt/libmpi.so": MPICH, "/opt/libmpi_abi.so.0.1": MPICH };
  const named = (file: string) => find(["MPICH"], files, { LAYERWISE_MPI_LIBRARY: file });
  expect(named("/opt/libmpi.so")).toBe("MPICH: MPICH 4.0.2");
  expect(named("/opt/libmpi_abi.so.0.1")).toBe("the standard ABI: MPI library 4.0.2");
  expect(() => named("/opt/none.so")).toThrow(
    "LAYERWISE_MPI_LIBRARY: expected an MPI library, got /opt/none.so, which does not load as one",
  );
  expect(() => named("libmpi.so.40")).toThrow(
    "LAYERWISE_MPI_LIBRARY: expected MPICH, whose launcher started this program, got Open MPI 5.0.7 (libmpi.so.40)",
  );
});

it.each([
  [["MPICH"], { "libmpi.so.40": OPEN_MPI }, "expected MPICH, whose .* apt-get install mpich\\)"],
  [["Open MPI"], { "libmpich.so.12": MPICH }, "expected Open MPI, .* install openmpi-bin\\)"],
  [["Open MPI", "MPICH"], {}, "expected Open MPI or MPICH, .* openmpi-bin; .* mpich\\)"],
] as const)("none for a launcher of %j: what to install", (kinds, files, message) => {
  expect(() => find(kinds, files)).toThrow(new RegExp(message));
});
