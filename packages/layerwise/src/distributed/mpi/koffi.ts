/** koffi, the optional peer that calls the MPI library. These types are what is used of it. */
import { nodeProcess } from "./node.js";

/** A function of the library. */
export type Native = (...args: unknown[]) => unknown;

export interface NativeLibrary {
  func(name: string, result: string, parameters: readonly string[]): Native;
  /** The address of a variable. */
  symbol(name: string, type: string): unknown;
}

export interface Koffi {
  load(path: string): NativeLibrary;
}

/**
 * Finds koffi beside layerwise, else in the folder of the program that runs.
 *
 * @throws Error that says what to install
 */
export async function loadKoffi(): Promise<Koffi> {
  // Held in a variable: bundlers and compilers must not look for an optional package.
  const name = "koffi";
  try {
    return defaultOf(await import(name));
  } catch {
    // Next, as the program itself would find it.
  }
  const process = nodeProcess();
  try {
    const { createRequire } = process.getBuiltinModule("node:module");
    return defaultOf(createRequire(`${process.cwd()}/program.js`)(name));
  } catch (error) {
    throw new Error(
      `Mpi.init: expected the package koffi, which calls the MPI library, got none (${String(error)}); install it with: npm install koffi`,
      { cause: error },
    );
  }
}

function defaultOf(module: unknown): Koffi {
  return (module as { default?: Koffi }).default ?? (module as Koffi);
}
