/** A line of results.jsonl, checked. */
import { checkChoice, checkFlag, checkInteger, checkNumber, checkObject } from "../check.js";
import { UsageError } from "../errors.js";
import { OPTIMIZERS } from "../optimizers/names.js";
import { checkedTrial } from "../search/search-file.js";
import type { CellResult } from "./cells.js";

/** @throws UsageError that names a wrong field */
export function checkResult(what: string, value: unknown): CellResult {
  const result = checkObject(what, value);
  const name = (field: string): string => `${what}: ${field}`;
  const whole = (field: string): number =>
    checkInteger(name(field), result[field], { from: 0, to: 2 ** 31 - 1 });
  const number = (field: string): number => checkNumber(name(field), result[field], { from: 0 });
  const optional = (field: string): number | null =>
    result[field] === null ? null : number(field);
  const flag = (field: string): boolean => checkFlag(name(field), result[field]);
  const { trials } = result;
  if (!Array.isArray(trials)) throw new UsageError(`${name("trials")}: expected an array`);
  return {
    optimizer: checkChoice(name("optimizer"), result.optimizer, OPTIMIZERS),
    batchSize: whole("batchSize"),
    lr: optional("lr"),
    maxGradNorm: optional("maxGradNorm"),
    seed: whole("seed"),
    holdOut: flag("holdOut"),
    searched: flag("searched"),
    diverged: flag("diverged"),
    heldOutAccuracy: optional("heldOutAccuracy"),
    testAccuracy: optional("testAccuracy"),
    testLoss: optional("testLoss"),
    stateBytes: optional("stateBytes"),
    seconds: number("seconds"),
    trials: trials.map((trial) => checkedTrial(name("trials"), trial)),
    atEdge: flag("atEdge"),
  };
}
