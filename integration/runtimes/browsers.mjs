/** Bundles in pages, with and without cross-origin isolation. */
import { mkdtempSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { end, folder, run, start } from "./workspace.mjs";

const PAGE_TIMEOUT_MS = 120_000;

const browsers = {
  chromium: (profile) => ["--headless=new", "--no-sandbox", `--user-data-dir=${profile}`],
  "firefox-esr": (profile) => ["--headless", "--no-remote", "--profile", profile],
};

const isolation = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/** Reports whatever goes wrong in a page, also a script that does not load or parse. */
const reporter = `
for (const event of ["error", "unhandledrejection"]) {
  addEventListener(event, ({ message, reason, target }) => {
    const error = String(message ?? reason ?? "could not load " + target.src);
    fetch("/result", { method: "POST", body: JSON.stringify({ error }) });
  }, true);
}`;

/** Serves the bundles as pages /isolated/<name> and /plain/<name>; `received` gets what a page reports. */
async function serve(bundles, received) {
  const server = createServer((request, response) => {
    const [, mode, name = ""] = request.url.split("/");
    const headers = mode === "isolated" ? isolation : {};
    if (request.method === "POST") {
      let text = "";
      request.on("data", (data) => (text += data)).on("end", () => received(JSON.parse(text)));
      response.end();
    } else if (name.endsWith(".js")) {
      response.writeHead(200, { ...headers, "content-type": "text/javascript" });
      response.end(readFileSync(join(bundles, name)));
    } else {
      response.writeHead(200, { ...headers, "content-type": "text/html" });
      response.end(
        `<!doctype html><script>${reporter}</script><script type="module" src="/${mode}/${name}.js"></script>`,
      );
    }
  });
  await new Promise((resolve) => server.listen(0, "localhost", resolve));
  return server;
}

/** Whether a browser is installed. */
export async function isInstalled(browser) {
  return run("which", [browser]).then(
    () => true,
    () => false,
  );
}

/**
 * Opens each bundle in each browser that is asked for.
 *
 * @param check called with a page's name, whether it is isolated, and a function that gives its report
 */
export async function openPages({ bundles, names, browser, check }) {
  let received = (report) => void report;
  const server = await serve(bundles, (report) => received(report));
  const { port } = server.address();
  try {
    for (const name of names) {
      for (const mode of ["isolated", "plain"]) {
        await check(`${browser}, ${name}, ${mode}`, mode === "isolated", () =>
          open(browser, `http://localhost:${port}/${mode}/${name}`, (listener) => {
            received = listener;
          }),
        );
      }
    }
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** What a page reports. @throws Error when something fails in it, or the browser ends, or nothing comes in time */
async function open(browser, url, listen) {
  const profile = mkdtempSync(join(folder, "profile-"));
  const child = start(browser, [...browsers[browser](profile), url], { stdio: "ignore" });
  let timer;
  try {
    return await new Promise((resolve, reject) => {
      listen((report) => ("error" in report ? reject(new Error(report.error)) : resolve(report)));
      child.on("error", reject);
      child.on("close", () => reject(new Error(`${browser} ended without a result`)));
      timer = setTimeout(() => {
        reject(new Error(`no result within ${PAGE_TIMEOUT_MS / 1000} s`));
      }, PAGE_TIMEOUT_MS);
    });
  } finally {
    clearTimeout(timer);
    await end(child);
  }
}
