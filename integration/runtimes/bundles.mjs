/** The program as each bundler makes it for pages, with its defaults. */
import { join } from "node:path";
import { build as buildWithEsbuild } from "esbuild";
import { build as buildWithVite } from "vite";
import webpack from "webpack";

/** @returns the names of the bundles: `<name>.js` in the folder */
export async function bundle(entry, root, outDir) {
  await buildWithEsbuild({
    entryPoints: [entry],
    bundle: true,
    format: "esm",
    outfile: join(outDir, "esbuild.js"),
  });
  await buildWithVite({
    root,
    logLevel: "error",
    build: {
      outDir,
      emptyOutDir: false,
      rolldownOptions: { input: entry, output: { entryFileNames: "vite.js" } },
    },
  });
  await new Promise((resolve, reject) => {
    webpack(
      { mode: "production", entry, output: { path: outDir, filename: "webpack.js" } },
      (error, stats) =>
        error || stats.hasErrors() ? reject(error ?? new Error(stats.toString())) : resolve(),
    );
  });
  return ["esbuild", "vite", "webpack"];
}
