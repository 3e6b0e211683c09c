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
const plugins = ["lobster", "lobstah"];

export function pack(plugin: string, out: string): string {
  const stage = fs.mkdtempSync(path.join(os.tmpdir(), "openclaw-pack-"));
  try {
    const source = path.join(here, plugin);
    const { files } = JSON.parse(fs.readFileSync(path.join(source, "package.json"), "utf8")) as { files: string[] };
    for (const name of ["package.json", ...files.filter((name) => name !== "dist")]) {
      fs.cpSync(path.join(source, name), path.join(stage, name), { recursive: true });
    }
    for (const name of ["index.ts", ...fs.readdirSync(path.join(source, "src")).map((name) => path.join("src", name))]) {
      const script = path.join(stage, "dist", name.replace(/\.ts$/, ".js"));
      fs.mkdirSync(path.dirname(script), { recursive: true });
      fs.writeFileSync(script, asJavaScript(fs.readFileSync(path.join(source, name), "utf8")));
    }
    fs.mkdirSync(out, { recursive: true });
    const printed = execFileSync("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", path.resolve(out)], { cwd: stage, encoding: "utf8" });
    return path.resolve(out, printed.trim());
  } finally {
    fs.rmSync(stage, { recursive: true, force: true });
  }
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
  for (const name of names.length > 0 ? names : plugins) process.stdout.write(pack(name, out) + "\n");
}
