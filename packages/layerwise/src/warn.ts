/** Warnings on the console, each once in a program. */
const said = new Set<string>();

/** Says what a user would not see otherwise: that steps are slower than they could be, or that state was left aside. */
export function warnOnce(message: string): void {
  if (said.has(message)) return;
  said.add(message);
  console.warn(`layerwise: ${message}`);
}
