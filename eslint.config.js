import { existsSync } from "node:fs";
import js from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import importX, { createNodeResolver } from "eslint-plugin-import-x";
import tseslint from "typescript-eslint";

const library = "packages/layerwise/src";

/**
 * Imports go down only: adapters and distributed → lars → decide, state, kernels.
 *
 * @param {string} folder files these rules are for
 * @param {Record<string, string>} forbidden module (a folder or a file of src/) → reason
 * @param {string[]} [except] files of the folder that are free to import them
 * @returns {import("eslint").Linter.Config}
 */
function layer(folder, forbidden, except = []) {
  return {
    files: [`${folder}/**/*.ts`],
    ignores: except,
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: Object.entries(forbidden).map(([name, message]) => ({
            regex: `^\\.\\.?/(.*/)?${name}(/|\\.js$)`,
            message,
          })),
        },
      ],
    },
  };
}

const upper = {
  adapters: "Adapters stand on top of the library.",
  distributed: "Distributed training stands on top of the library.",
};
const loop = {
  ...upper,
  "(lars|layer|param-group|state-dict)": "The optimizer's loop stands above its phases.",
};

export default defineConfig(
  globalIgnores([
    "**/dist/",
    "**/coverage/",
    "**/*.generated.ts",
    "bench/",
    "runs/",
    // Its types are those of packages that only its own tests install (npm run test:tfjs).
    ...(existsSync(`${import.meta.dirname}/integration/tfjs/node_modules`) ? [] : ["integration/"]),
    // AssemblyScript looks like TypeScript and is not.
    `${library}/kernels/wasm/assembly/`,
  ]),

  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    plugins: { "import-x": importX },
    settings: {
      "import-x/extensions": [".ts", ".js", ".mjs"],
      "import-x/parsers": { "@typescript-eslint/parser": [".ts"] },
      "import-x/ignore": ["node_modules"],
      "import-x/resolver-next": [
        createNodeResolver({
          extensions: [".ts", ".js", ".mjs"],
          extensionAlias: { ".js": [".ts", ".js"] },
        }),
      ],
    },
    rules: {
      eqeqeq: "error",
      "no-console": "off",
      "import-x/no-cycle": ["error", { ignoreExternal: true }],
      "import-x/no-self-import": "error",
      "import-x/no-duplicates": "error",
      "import-x/first": "error",
      "import-x/newline-after-import": "error",
      "import-x/order": [
        "error",
        {
          groups: ["builtin", "external", ["parent", "sibling", "index"]],
          alphabetize: { order: "asc" },
        },
      ],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      // Indexing is checked by the compiler (noUncheckedIndexedAccess); in a loop over typed arrays
      // the assertion is what says that the index is in range.
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
    },
  },

  layer(library, upper, [
    `${library}/adapters/**`,
    `${library}/distributed/**`,
    // The entry points of these two.
    `${library}/{tfjs,jax,mpi}.ts`,
  ]),
  layer(`${library}/decide`, {
    ...loop,
    kernels: "Decisions are scalar arithmetic: they know nothing of arrays.",
    state: "Decisions are scalar arithmetic: they know nothing of arrays.",
    parameter: "Decisions are scalar arithmetic: they know nothing of arrays.",
  }),
  layer(`${library}/state`, {
    ...loop,
    "kernels/(reference|choose|wasm|webgpu)":
      "State may know the kernels' interface, not a kernel.",
    options: "State knows nothing of options.",
  }),
  layer(`${library}/kernels`, {
    ...loop,
    decide: "Kernels measure and apply; decisions are made elsewhere.",
    options: "Kernels know nothing of options.",
    schedules: "Kernels know nothing of options.",
  }),

  {
    files: [`${library}/**/*.ts`],
    rules: { "no-console": "error" },
  },
  {
    // Vitest's asymmetric matchers (expect.any and its like) are typed `any`.
    files: ["packages/*/test/**/*.ts", "integration/*/test/**/*.ts"],
    rules: {
      "@typescript-eslint/no-unsafe-assignment": "off",
    },
  },
  {
    // jax-js' trees are a type that contains itself, which overflows this rule's stack.
    files: ["packages/layerwise/test/jax/**/*.ts"],
    rules: {
      "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
    },
  },
  {
    files: ["**/*.js", "**/*.mjs"],
    languageOptions: {
      globals: {
        Buffer: "readonly",
        URL: "readonly",
        WebAssembly: "readonly",
        console: "readonly",
        process: "readonly",
      },
    },
  },
);
