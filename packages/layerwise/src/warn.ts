/** Warnings on the console about what a user could not see otherwise: slow steps, unused state. */
export function warn(message: string): void {
  console.warn(`layerwise: ${message}`);
}

const said = new Set<string>();

/** Warns once per program. */
export function warnOnce(message: string): void {
  if (said.has(message)) return;
  said.add(message);
  warn(message);
}

/** Says why the program ends. */
export function printError(message: string): void {
  console.error(`layerwise: ${message}`);
}
