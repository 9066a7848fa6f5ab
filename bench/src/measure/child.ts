/** The other side of in-new-process.ts. */

const [module, task] = process.argv.slice(2);
const { measure } = (await import(new URL(module!, import.meta.url).href)) as {
  measure: (task: unknown) => Promise<unknown>;
};
const value = await measure(JSON.parse(task!));
process.send?.({ value }, () => {
  // Rivals leave threads behind that would keep the program alive.
  process.exit(0);
});
