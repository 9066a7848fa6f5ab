/** Warnings on the console: what a user would not see otherwise, that steps are slow, or that state was left aside. */
export function warn(message: string): void {
  console.warn(`layerwise: ${message}`);
}

const said = new Set<string>();

/** A warning that is said once in a program. */
export function warnOnce(message: string): void {
  if (said.has(message)) return;
  said.add(message);
  warn(message);
}
