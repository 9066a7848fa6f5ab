/** A Python program that makes steps on command: the other end of peers/peer.py. */
import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import {
  COEFFICIENT,
  LEARNING_RATE,
  MAX_UNORM,
  MOMENTUM,
  WEIGHT_DECAY,
  type Computed,
} from "../rules.js";

const PROGRAM = fileURLToPath(new URL("../../peers/peer.py", import.meta.url));

/** Where peers/setup.sh puts its environment. */
export function pythonPath(): string {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  const environment = process.env.LAYERWISE_PEERS ?? join(cache, "layerwise-bench-peers");
  return join(environment, "bin/python");
}

export function hasPython(): boolean {
  return existsSync(pythonPath());
}

export interface PeerFound {
  readonly name: string;
  readonly rule: Computed;
  readonly bits: 8 | 32;
  readonly version: string;
}

export interface PeerMissing {
  readonly name: string;
  readonly reason: string;
}

export class PythonPeers {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: AsyncIterator<string>;

  constructor(threads: number) {
    const numbers = [LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, MAX_UNORM, COEFFICIENT];
    this.#child = spawn(pythonPath(), [PROGRAM, ...[threads, ...numbers].map(String)], {
      env: { ...process.env, OMP_NUM_THREADS: String(threads) },
    });
    this.#child.stderr.pipe(process.stderr);
    this.#answers = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }

  /** The files hold all layers, one after another. */
  load(
    sizes: readonly number[],
    files: { weights: string; gradients: string },
  ): Promise<{ rivals: PeerFound[]; missing: PeerMissing[] }> {
    return this.#ask({ do: "load", sizes, ...files });
  }

  /** From the beginning; the weights after the steps are written to the file. */
  async check(name: string, steps: number, out: string): Promise<void> {
    await this.#ask({ do: "check", name, steps, out });
  }

  /** Milliseconds of all steps together, by Python's clock. */
  async step(name: string, count: number): Promise<number> {
    return (await this.#ask<{ ms: number }>({ do: "step", name, count })).ms;
  }

  end(): void {
    this.#child.stdin.end();
  }

  async #ask<Answer>(request: object): Promise<Answer> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const line = await this.#answers.next();
    if (line.done === true) throw new Error("the Python program has ended");
    const answer = JSON.parse(line.value) as Answer & { error?: string };
    if (answer.error !== undefined) throw new Error(`peer.py: ${answer.error}`);
    return answer;
  }
}
