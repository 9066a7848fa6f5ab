// The packed library on every runtime and in bundles: each must reach the bits that this Node reaches.
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build as esbuild } from "esbuild";
import { build as vite } from "vite";
import webpack from "webpack";

const here = fileURLToPath(new URL(".", import.meta.url));
const library = join(here, "../../packages/layerwise");
const folder = mkdtempSync(join(tmpdir(), "layerwise-runtimes-"));
const options = { cwd: folder, encoding: "utf8", timeout: 60_000 };
const entry = join(folder, "program.mjs");
const PAGE_TIMEOUT = 60_000;
const failures = [];
let passed = 0;

function check(name, result, expected) {
  const isRight = result.startsWith(`${expected} `);
  console.log(`${isRight ? "ok  " : "FAIL"} ${name}: ${result}`);
  if (isRight) passed++;
  else failures.push(name);
}

/** Runs a program; what it printed, or how it failed. */
function output(command, args) {
  try {
    return execFileSync(command, args, options).trim();
  } catch (error) {
    return `${error.message}`.split("\n").slice(0, 3).join(" ");
  }
}

writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }');
execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: library });
const { version } = JSON.parse(readFileSync(join(library, "package.json"), "utf8"));
execFileSync(
  "npm",
  ["i", "--silent", "--no-audit", "--no-fund", `layerwise-${version}.tgz`],
  options,
);
copyFileSync(join(here, "program.mjs"), entry);
writeFileSync(
  join(folder, "require.cjs"),
  'require("layerwise").Parameter.allocate([1]); console.log("required by", process.version);',
);

// npm puts its packages' `node` before the machine's.
const machineNode = process.env.npm_node_execpath ?? process.execPath;
const expected = output(machineNode, [entry]).split(" ")[0];
const bin = (path) => join(here, "node_modules", path);
const nodes = { node: machineNode, node22: bin("node22/bin/node"), node24: bin("node24/bin/node") };
for (const [name, command] of Object.entries(nodes)) {
  check(name, output(command, [entry]), expected);
  check(`${name}, require()`, output(command, ["require.cjs"]), "required");
}
check("bun", output(bin(".bin/bun"), [entry]), expected);
check("deno", output(bin(".bin/deno"), ["run", "-A", entry]), expected);

const bundles = join(folder, "bundles");
mkdirSync(bundles);
await esbuild({
  entryPoints: [entry],
  bundle: true,
  format: "esm",
  outfile: join(bundles, "esbuild.js"),
});
await vite({
  root: folder,
  logLevel: "error",
  build: {
    outDir: bundles,
    emptyOutDir: false,
    rolldownOptions: { input: entry, output: { entryFileNames: "vite.js" } },
  },
});
await new Promise((resolve, reject) => {
  webpack(
    { mode: "production", entry, output: { path: bundles, filename: "webpack.js" } },
    (error, stats) =>
      error || stats.hasErrors() ? reject(error ?? new Error(stats.toString())) : resolve(),
  );
});

let report = () => {};
const isolation = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};
const server = createServer((request, response) => {
  const [, mode, name = ""] = request.url.split("/");
  const headers = mode === "isolated" ? isolation : {};
  if (request.method === "POST") {
    let text = "";
    request.on("data", (data) => (text += data)).on("end", () => report(text));
    response.end();
  } else if (name.endsWith(".js")) {
    response.writeHead(200, { ...headers, "content-type": "text/javascript" });
    response.end(readFileSync(join(bundles, name)));
  } else {
    response.writeHead(200, { ...headers, "content-type": "text/html" });
    response.end(`<!doctype html><script type="module" src="/${mode}/${name}.js"></script>`);
  }
});
await new Promise((resolve) => server.listen(0, resolve));

const browsers = {
  chromium: (profile) => ["--headless=new", "--no-sandbox", `--user-data-dir=${profile}`],
  "firefox-esr": (profile) => ["--headless", "--no-remote", "--profile", profile],
};
for (const [browser, args] of Object.entries(browsers)) {
  if (
    output("which", [browser]) === "" ||
    output("which", [browser]).startsWith("Command failed")
  ) {
    console.log(`SKIPPED ${browser}: not installed`);
    if (process.env.CI) failures.push(browser);
    continue;
  }
  for (const name of ["esbuild", "vite", "webpack"]) {
    for (const mode of ["isolated", "plain"]) {
      const profile = mkdtempSync(join(folder, "profile-"));
      const url = `http://localhost:${server.address().port}/${mode}/${name}`;
      const page = spawn(browser, [...args(profile), url], { stdio: "ignore", detached: true });
      let timer;
      const result = await new Promise((resolve) => {
        report = resolve;
        page.on("error", ({ message }) => resolve(message));
        timer = setTimeout(() => resolve("no result within a minute"), PAGE_TIMEOUT);
      });
      clearTimeout(timer);
      check(`${browser}, ${name}, ${mode}`, result, expected);
      if (!result.includes(`isolated=${mode === "isolated"}`))
        failures.push(`${browser}: isolation`);
      process.kill(-page.pid, "SIGKILL");
    }
  }
}
server.close();
rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
console.log(`${passed} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;
