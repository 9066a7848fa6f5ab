/**
 * Two hosts on one machine: network namespaces with a cable (veth) between them, each with a name and a `/dev/shm` of its
 * own, so that messages between them can go by TCP only. A script that enters a namespace stands in for ssh.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Library } from "./mpirun.js";

const NETWORK = "10.213.77";

export interface Hosts {
  /** A launcher on the first host, with flags for an equal number of processes on each. */
  launcher(library: Library, processesEach: number): readonly string[];
  remove(): void;
}

/** @returns why this machine allows no namespaces, or the hosts */
export function twoHosts(): Hosts | string {
  const names = ["one", "two"].map((name) => `layerwise-${process.pid}-${name}`);
  const [one, two] = names as [string, string];
  const commands = [
    ...names.map((name) => ["netns", "add", name]),
    ["link", "add", "cable", "netns", one, "type", "veth", "peer", "name", "cable", "netns", two],
    ...names.flatMap((name, index) => [
      ["-n", name, "address", "add", `${NETWORK}.${index + 1}/24`, "dev", "cable"],
      ["-n", name, "link", "set", "cable", "up"],
      ["-n", name, "link", "set", "lo", "up"],
    ]),
  ];
  const removeNamespaces = (): void => {
    for (const name of names) {
      // What a failed job may have left there would keep a core busy.
      const { stdout } = spawnSync("ip", ["netns", "pids", name], { encoding: "utf8" });
      for (const id of stdout.match(/\d+/g) ?? []) process.kill(Number(id), "SIGKILL");
      spawnSync("ip", ["netns", "delete", name]);
    }
  };
  for (const command of commands) {
    const { status, stderr, error } = spawnSync("ip", command, { encoding: "utf8" });
    if (status === 0) continue;
    removeNamespaces();
    return `ip ${command.join(" ")}: ${error?.message ?? stderr.trim()}`;
  }
  const folder = mkdtempSync(join(tmpdir(), "layerwise-hosts-"));
  const enter = join(folder, "enter");
  writeFileSync(enter, enterScript(one, two));
  chmodSync(enter, 0o755);
  return {
    launcher: (library, processesEach) => [
      ...[enter, `${NETWORK}.1`],
      ...(library === "Open MPI" ? openMpi(enter, processesEach) : mpich(enter, processesEach)),
    ],
    remove: () => {
      removeNamespaces();
      rmSync(folder, { recursive: true });
    },
  };
}

/** Called as ssh is: options, an address, and words that a shell on that host puts together. */
function enterScript(one: string, two: string): string {
  return `#!/bin/sh
while [ "\${1#-}" != "$1" ]; do shift; done
case "$1" in
  ${NETWORK}.1) namespace=${one} ;;
  ${NETWORK}.2) namespace=${two} ;;
  *) echo "no host $1" >&2; exit 1 ;;
esac
shift
exec ip netns exec "$namespace" unshare --uts --mount sh -c "hostname $namespace; mount -t tmpfs tmpfs /dev/shm; exec $*"
`;
}

function openMpi(enter: string, processesEach: number): string[] {
  return [
    ...["mpirun.openmpi", "--allow-run-as-root", "--bind-to", "none"],
    ...["--host", [1, 2].map((host) => `${NETWORK}.${host}:${processesEach}`).join(",")],
    ...["--mca", "plm_rsh_agent", enter],
    ...["--mca", "oob_tcp_if_include", "cable", "--mca", "btl_tcp_if_include", "cable"],
  ];
}

function mpich(enter: string, processesEach: number): string[] {
  return [
    ...["mpiexec.hydra", "-launcher", "ssh", "-launcher-exec", enter, "-iface", "cable"],
    ...["-hosts", [1, 2].map((host) => `${NETWORK}.${host}:${processesEach}`).join(",")],
  ];
}
