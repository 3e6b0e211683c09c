/**
 * Packs the plugins as they are published: JavaScript instead of TypeScript, in one archive each.
 *
 *   node pack.ts OUT-FOLDER [PLUGIN...]      prints the archives' paths
 *
 * The types are only removed, so nothing else changes and no compiler is needed.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import os from "node:os";
import path from "node:path";

const here = import.meta.dirname;
const plugins = ["lobster", "lobstah", "clawmatrix"];

export function pack(plugin: string, out: string): string {
  const stage = fs.mkdtempSync(path.join(os.tmpdir(), "openclaw-pack-"));
  try {
    const source = path.join(here, plugin);
    const { files } = JSON.parse(fs.readFileSync(path.join(source, "package.json"), "utf8")) as { files: string[] };
    for (const name of ["package.json", ...files.filter((name) => name !== "dist")]) {
      fs.cpSync(path.join(source, name), path.join(stage, name), { recursive: true });
    }
    for (const script of scripts(path.join(source, "index.ts"))) {
      const packed = path.join(stage, "dist", path.relative(here, script).replace(/\.ts$/, ".js"));
      fs.mkdirSync(path.dirname(packed), { recursive: true });
      fs.writeFileSync(packed, asJavaScript(fs.readFileSync(script, "utf8")));
    }
    fs.mkdirSync(out, { recursive: true });
    const printed = execFileSync("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", path.resolve(out)], { cwd: stage, encoding: "utf8" });
    return path.resolve(out, printed.trim());
  } finally {
    fs.rmSync(stage, { recursive: true, force: true });
  }
}

const imported = /from "(\.[^"]*\.ts)";$/gm;

/** A script and all that it imports, which may be another plugin's: dist mirrors this folder. */
function scripts(first: string, seen = new Set<string>()): Set<string> {
  if (seen.has(first)) return seen;
  seen.add(first);
  for (const [, name = ""] of fs.readFileSync(first, "utf8").matchAll(imported)) scripts(path.join(path.dirname(first), name), seen);
  return seen;
}

function asJavaScript(source: string): string {
  const script = stripTypeScriptTypes(source).replace(/(from ")(\.[^"]*)\.ts(";)$/gm, "$1$2.js$3");
  return script.replace(/[ \t]+$/gm, "").replace(/\n{3,}/g, "\n\n"); // what the types left behind
}

if (import.meta.main) {
  const [out, ...names] = process.argv.slice(2);
  if (out === undefined || names.some((name) => !plugins.includes(name))) {
    process.stderr.write(`usage: node pack.ts OUT-FOLDER [${plugins.join("|")}...]\n`);
    process.exit(2);
  }
  process.removeAllListeners("warning"); // Node calls the removing of types experimental
  for (const name of names.length > 0 ? names : plugins) process.stdout.write(pack(name, out) + "\n");
}
