/** Identifies a process, and tells whether it still runs. */
import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/** A process and where it runs. null: the platform doesn't say. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly host: string;
  /** The machine's own id: hosts can share a name. */
  readonly machine: string | null;
  /** Changes when the machine starts. */
  readonly boot: string | null;
  /** The set of process ids: a container has its own. */
  readonly namespace: string | null;
  /** When the process started: a process id is used again. */
  readonly started: string | null;
}

/** "unknown": this process can't see the other, for example on another host. */
export type Fate = "running" | "ended" | "unknown";

export function currentProcess(): ProcessIdentity {
  return {
    pid: process.pid,
    host: hostname(),
    machine: textOf("/etc/machine-id") ?? textOf("/var/lib/dbus/machine-id"),
    boot: textOf("/proc/sys/kernel/random/boot_id"),
    namespace: linkOf("/proc/self/ns/pid"),
    started: startOf(process.pid),
  };
}

/** What became of another process. Never a guess: "ended" is certain. */
export function fateOf(other: ProcessIdentity): Fate {
  const own = currentProcess();
  if (other.host !== own.host || other.machine !== own.machine) return "unknown";
  if (other.boot !== own.boot) {
    // Without a machine id, another boot may be another machine of the same name.
    const isSameMachine = other.machine !== null && other.boot !== null && own.boot !== null;
    return isSameMachine ? "ended" : "unknown";
  }
  if (other.namespace !== own.namespace) return "unknown";
  if (!exists(other.pid)) return "ended";
  const started = startOf(other.pid);
  if (started === null || other.started === null) return "unknown";
  return started === other.started ? "running" : "ended";
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it exists, and belongs to another user.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Differs between two processes of the same id; null where it can't be found out. */
function startOf(pid: number): string | null {
  if (process.platform === "linux") return startInProc(pid);
  return process.platform === "win32" ? null : startFromPs(pid);
}

/** Ticks since the machine started. */
function startInProc(pid: number): string | null {
  const stat = textOf(`/proc/${pid}/stat`);
  // The name of the program, in parentheses, can hold spaces and parentheses.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields === undefined) return null;
  const [state, started] = [fields[0]!, fields[19] ?? null];
  // A zombie has ended; its parent has only not collected it.
  return state === "Z" || state === "X" ? "ended" : started;
}

/** Date and time, on macOS and BSD. */
function startFromPs(pid: number): string | null {
  try {
    const text = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], {
      encoding: "utf8",
      env: { ...process.env, LC_ALL: "C", TZ: "UTC" },
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
    return text === "" ? null : text;
  } catch {
    return null;
  }
}

function textOf(file: string): string | null {
  try {
    const text = readFileSync(file, "utf8").trim();
    return text === "" ? null : text;
  } catch {
    return null;
  }
}

function linkOf(file: string): string | null {
  try {
    return readlinkSync(file);
  } catch {
    return null;
  }
}
