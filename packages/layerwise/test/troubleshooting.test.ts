/** docs/troubleshooting.md quotes what the library says: each quote is in the page and in the message. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { decodeCheckpoint, encodeCheckpoint } from "../src/checkpoint.js";
import { LARS, Parameter } from "../src/index.js";
import type { LARSOptions } from "../src/index.js";

const page = readFileSync(new URL("../../../docs/troubleshooting.md", import.meta.url), "utf8");

function parameter(): Parameter {
  const made = new Parameter(new Float32Array(784), { name: "dense" });
  made.grad = new Float32Array(784);
  return made;
}

function messageOf(fault: () => unknown): string {
  try {
    fault();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  throw new Error("expected an error, got none");
}

const step = (change: (parameter: Parameter) => void): string =>
  messageOf(() => {
    const changed = parameter();
    const optimizer = new LARS([changed], { lr: 1 });
    change(changed);
    optimizer.step();
  });

const construct = (options: object): string =>
  messageOf(() => new LARS([parameter()], options as LARSOptions));

const checkpoint = (): Uint8Array => {
  const trained = parameter();
  const optimizer = new LARS([trained], { lr: 1, momentum: 0.9 });
  optimizer.step();
  return encodeCheckpoint(optimizer.stateDict());
};

/** Each line of the page's bold symptoms that quotes an error, in the parts between its dots. */
const quotes: [quote: string[], message: () => string][] = [
  [
    ["expected a finite gradient, got a NaN or infinite element; nothing was written"],
    () => step(({ grad }) => grad?.fill(NaN)),
  ],
  [
    ["grad: expected a Float32Array of 784, got a detached Float32Array"],
    () => step(({ grad }) => structuredClone(grad, { transfer: [grad!.buffer as ArrayBuffer] })),
  ],
  [
    ["grad: expected a Float32Array of 784, got one of 300"],
    () => step((changed) => (changed.grad = new Float32Array(300))),
  ],
  [
    ['options: unknown name "weight_decay"; expected one of lr, momentum'],
    () => construct({ lr: 1, weight_decay: 0 }),
  ],
  [
    ["maxUnorm and trustRatio: expected one of them, got"],
    () => construct({ lr: 1, maxUnorm: 0.1, trustRatio: "none" }),
  ],
  [
    ['dampening: expected 0 with momentumOrder "classic"'],
    () => construct({ lr: 1, momentum: 0.9, dampening: 0.1, trustRatio: "scale-gradient" }),
  ],
  [
    ["expected an optimizer in use, got a disposed one"],
    () =>
      messageOf(() => {
        const optimizer = new LARS([parameter()], { lr: 1 });
        optimizer.dispose();
        optimizer.step();
      }),
  ],
  [["the file is truncated"], () => messageOf(() => decodeCheckpoint(checkpoint().slice(0, -8)))],
  [["expected at least 8 bytes"], () => messageOf(() => decodeCheckpoint(new Uint8Array(3)))],
  [
    ['checkpoint: format: expected "layerwise.checkpoint", got undefined'],
    () => {
      const header = new TextEncoder().encode('{"__metadata__":{}}     ');
      const bytes = new Uint8Array(8 + header.length);
      new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
      bytes.set(header, 8);
      return messageOf(() => decodeCheckpoint(bytes));
    },
  ],
  [
    ["state: layers[", "momentum.values[17]: expected a finite number, got NaN"],
    () => {
      const { step: steps, layers } = decodeCheckpoint(checkpoint());
      const { momentum } = layers[0]!;
      if (momentum?.kind === "float32") momentum.values[17] = NaN;
      return messageOf(() => encodeCheckpoint({ step: steps, layers }));
    },
  ],
  [
    ["metadata: expected a name other than format, version, state"],
    () => messageOf(() => encodeCheckpoint({ step: 0, layers: [] }, { metadata: { state: "" } })),
  ],
];

describe("docs/troubleshooting.md", () => {
  it.each(quotes)("quotes %j", (parts, message) => {
    const said = message();
    for (const part of parts) {
      expect(said).toContain(part);
      expect(page).toContain(part);
    }
  });
});
