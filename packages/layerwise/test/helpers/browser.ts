/** Tests in a real browser: where it is, a script bundled from the built packages, and a server for its pages. */
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

export const executablePath = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";

/** Whether there is a browser; if not, it says what is skipped. */
export function hasBrowser(test: string): boolean {
  const found = existsSync(executablePath);
  if (!found) {
    console.warn(
      `${test}: no browser at ${executablePath} (set CHROMIUM_PATH): all of it is SKIPPED`,
    );
  }
  return found;
}

/** A script as a bundler makes it from the packages' exports. */
export async function bundled(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
    bundle: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "es2022",
  });
  return outputFiles[0]!.text;
}

/**
 * Serves pages that run a script.
 *
 * @param pages their headers, by path
 */
export async function serve(
  script: string,
  pages: Readonly<Record<string, Readonly<Record<string, string>>>>,
): Promise<Server> {
  const server = createServer(({ url = "" }, response) => {
    if (url === "/bundle.js") {
      response
        .writeHead(200, {
          "Content-Type": "text/javascript",
          // As a worker's script it must say so itself.
          "Cross-Origin-Embedder-Policy": "require-corp",
        })
        .end(script);
    } else if (pages[url] !== undefined) {
      response
        .writeHead(200, { "Content-Type": "text/html", ...pages[url] })
        .end('<!doctype html><title>test</title><script type="module" src="/bundle.js"></script>');
    } else {
      response.writeHead(204).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}
