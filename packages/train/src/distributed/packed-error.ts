/** Errors as they travel between processes: their kind decides the exit code. */
import { TrainingError, UsageError, WriteError, messageOf } from "../errors.js";

export interface PackedError {
  readonly kind: string;
  readonly message: string;
}

const KINDS = { UsageError, TrainingError, WriteError };

export function packed(error: unknown): PackedError {
  const kind = error instanceof Error ? error.name : "Error";
  return { kind, message: messageOf(error) };
}

export function unpacked({ kind, message }: PackedError): Error {
  const Kind = kind in KINDS ? KINDS[kind as keyof typeof KINDS] : Error;
  return new Kind(message);
}
