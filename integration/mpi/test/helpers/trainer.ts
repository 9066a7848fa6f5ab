/** layerwise-train, and a small table for it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { csvText } from "../../../../packages/train/test/helpers/data.js";

export const CLI = fileURLToPath(
  new URL("../../../../packages/train/dist/cli.js", import.meta.url),
);

export interface TrainerFiles {
  /** For run folders. */
  readonly folder: string;
  /** Options: 120 rows in batches of 50, with micro-batches of 13, so that the last batch is unequal. */
  readonly args: readonly string[];
  readonly remove: () => void;
}

export function trainerFiles(): TrainerFiles {
  const folder = mkdtempSync(join(tmpdir(), "layerwise-mpi-trainer-"));
  const table = join(folder, "points.csv");
  writeFileSync(table, csvText());
  return {
    folder,
    args: [
      ...["--data", table, "--label", "kind", "--hidden", "12"],
      ...["--batch-size", "50", "--micro-batch", "13"],
    ],
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
