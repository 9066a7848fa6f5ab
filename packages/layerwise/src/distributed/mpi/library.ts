/** Finds the MPI library that belongs to the launcher. */
import type { LibraryKind } from "./abi.js";
import type { Koffi, NativeLibrary } from "./koffi.js";
import type { LaunchedKind, Launcher } from "./launcher.js";
import type { NodeProcess } from "./node.js";

export interface FoundLibrary {
  readonly library: NativeLibrary;
  readonly kind: LibraryKind;
  /** "Open MPI 4.1.4". */
  readonly name: string;
}

/** Names a library file; no other is looked for then. */
const OVERRIDE = "LAYERWISE_MPI_LIBRARY";

/** Files by the major version of their interface, which outlives versions of the library. macOS' were not tried. */
const FILES: Readonly<Record<LibraryKind, Readonly<Record<string, readonly string[]>>>> = {
  "Open MPI": {
    linux: ["libmpi.so.40"],
    darwin: ["libmpi.40.dylib", "/opt/homebrew/lib/libmpi.40.dylib"],
  },
  MPICH: {
    linux: ["libmpich.so.12", "libmpi.so.12"],
    darwin: ["libmpi.12.dylib", "/opt/homebrew/lib/libmpi.12.dylib"],
  },
  "the standard ABI": { linux: ["libmpi_abi.so.0"], darwin: ["libmpi_abi.0.dylib"] },
};

const PACKAGES: Readonly<Record<LaunchedKind, string>> = {
  "Open MPI": "Debian: apt-get install openmpi-bin",
  MPICH: "Debian: apt-get install mpich",
};

/** MPI_MAX_LIBRARY_VERSION_STRING is at most this. */
const VERSION_BYTES = 8192;

/** @throws Error that says what to install, or that the library is not the launcher's */
export function findLibrary(koffi: Koffi, { kinds }: Launcher, process: NodeProcess): FoundLibrary {
  keepHeapWhole(process);
  const expected = `${kinds.join(" or ")}, whose launcher started this program`;
  const named = process.env[OVERRIDE];
  if (named !== undefined) {
    const found = load(koffi, named);
    if (found === null) {
      throw new Error(
        `${OVERRIDE}: expected an MPI library, got ${named}, which does not load as one`,
      );
    }
    if (isOf(found.kind, kinds)) return found;
    throw new Error(`${OVERRIDE}: expected ${expected}, got ${found.name} (${named})`);
  }
  const wanted: LibraryKind[] = [...kinds, "the standard ABI"];
  const files = wanted.flatMap((of) => FILES[of][process.platform] ?? []);
  for (const file of files) {
    const found = load(koffi, file);
    if (found !== null && isOf(found.kind, kinds)) return found;
  }
  const packages = kinds.map((kind) => PACKAGES[kind]).join("; ");
  throw new Error(
    `Mpi.init: expected ${expected}, got none (looked for ${files.join(", ")}); install it (${packages}), start the program with another mpirun, or name a file with ${OVERRIDE}`,
  );
}

/**
 * UCX carries MPICH's messages, and Open MPI's on request. When it loads, it tests its memory hooks with sbrk(page) and
 * sbrk(-page), and ignores a failure of the first. Where V8 has mapped memory right above the heap, the second takes the
 * heap's last page away, and the process crashes later: with UCX 1.13, 4 of about 100 jobs of 2 to 4 processes
 * (github.com/openucx/ucx/issues/3831 has the same symptom). A value that is set already stays.
 */
function keepHeapWhole({ env }: NodeProcess): void {
  env.UCX_MEM_EVENTS ??= "n";
}

/** A library with the standard ABI goes with any launcher: its job's size shows whether it fits. */
function isOf(found: LibraryKind, kinds: readonly LaunchedKind[]): boolean {
  return found === "the standard ABI" || kinds.includes(found);
}

/** null when there is no such file, or it is no MPI library. */
function load(koffi: Koffi, file: string): FoundLibrary | null {
  try {
    const library = koffi.load(file);
    const text = versionOf(library);
    const kind = /(^|\/)libmpi_abi\./.test(file) ? "the standard ABI" : kindOf(text);
    return kind === null ? null : { library, kind, name: nameOf(kind, text) };
  } catch {
    return null;
  }
}

/** May be called before MPI_Init. */
function versionOf(library: NativeLibrary): string {
  const bytes = new Uint8Array(VERSION_BYTES);
  const length = new Int32Array(1);
  library.func("MPI_Get_library_version", "int", ["uint8_t *", "int *"])(bytes, length);
  return new TextDecoder().decode(bytes.subarray(0, length[0]));
}

/** Intel MPI, MVAPICH and Cray MPICH have MPICH's binary interface. */
function kindOf(version: string): LibraryKind | null {
  if (version.includes("Open MPI")) return "Open MPI";
  return /MPICH|Intel\(R\) MPI|MVAPICH/i.test(version) ? "MPICH" : null;
}

function nameOf(kind: LibraryKind, version: string): string {
  const number = /\d+\.\d+[.\w]*/.exec(version)?.[0] ?? "of an unknown version";
  return `${kind === "the standard ABI" ? "MPI library" : kind} ${number}`;
}
