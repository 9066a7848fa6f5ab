/** What of Node this folder uses. The library is compiled without Node's types, since it runs in browsers too. */

interface NodeModule {
  readonly createRequire: (file: string) => (id: string) => unknown;
}

export interface NodeProcess {
  readonly env: Record<string, string | undefined>;
  readonly platform: string;
  cwd(): string;
  on(event: "exit", listener: (code: number) => void): void;
  on(event: "uncaughtExceptionMonitor", listener: (error: unknown) => void): void;
  listenerCount(event: "uncaughtException"): number;
  getBuiltinModule(name: "node:module"): NodeModule;
}

/** @throws Error in a browser */
export function nodeProcess(): NodeProcess {
  const { process } = globalThis as { process?: NodeProcess };
  if (process === undefined) {
    throw new Error("Mpi.init: expected a program in Node, got an engine without processes");
  }
  return process;
}
