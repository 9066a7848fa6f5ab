#!/usr/bin/env node
/** The command. npm links it when it installs, before dist/ is built: so it is not a file of dist/. */
import { existsSync } from "node:fs";

const cli = new URL("../dist/cli.js", import.meta.url);
if (existsSync(cli)) {
  await import(cli.href);
} else {
  console.error(`layerwise-train: expected ${cli.pathname}, got none; build it: npm run build`);
  process.exitCode = 2;
}
