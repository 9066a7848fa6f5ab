/** Worker threads and the tasks that wait for them. */
import { Worker } from "node:worker_threads";
import type { PieceScore, Reply, Request, Task, WorkerSetup } from "./protocol.js";

/** A task and what to do with its score. */
interface Waiting {
  readonly task: Task;
  readonly resolve: (score: PieceScore) => void;
  readonly reject: (error: Error) => void;
}

export class WorkerThreads {
  readonly #workers: readonly WorkerThread[];
  readonly #idle: WorkerThread[];
  readonly #queue: Waiting[] = [];

  constructor(setup: WorkerSetup, count: number) {
    this.#workers = Array.from({ length: count }, () => new WorkerThread(setup));
    this.#idle = [...this.#workers];
  }

  get count(): number {
    return this.#workers.length;
  }

  /** Runs a task on the next worker that is free; tasks begin in the order in which they came. */
  run(task: Task): Promise<PieceScore> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ task, resolve, reject });
      this.#start();
    });
  }

  /** Tells all workers. */
  tell(request: Exclude<Request, Task>): void {
    for (const worker of this.#workers) worker.post(request);
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }

  #start(): void {
    while (this.#idle.length > 0 && this.#queue.length > 0) {
      const worker = this.#idle.pop()!;
      const { task, resolve, reject } = this.#queue.shift()!;
      worker.run(task).then((score) => {
        this.#idle.push(worker);
        resolve(score);
        this.#start();
      }, reject);
    }
  }
}

/** One thread and the task that it runs. */
class WorkerThread {
  readonly #worker: Worker;
  #running: Omit<Waiting, "task"> | null = null;
  /** Why the thread is gone, if it is. */
  #broken: Error | null = null;

  constructor(setup: WorkerSetup) {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: setup });
    this.#worker.on("message", (reply: Reply) => {
      const running = this.#running;
      this.#running = null;
      if (reply.kind === "score") running?.resolve(reply.score);
      else running?.reject(new Error(reply.message));
    });
    this.#worker.on("error", (error: Error) => {
      this.#broken = error;
      this.#running?.reject(error);
    });
  }

  run(task: Task): Promise<PieceScore> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    return new Promise((resolve, reject) => {
      this.#running = { resolve, reject };
      this.post(task);
    });
  }

  post(request: Request): void {
    this.#worker.postMessage(request);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
