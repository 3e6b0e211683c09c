/** Which program may run, and where. The words come from a model that somebody may have talked round. */
import fs from "node:fs/promises";
import path from "node:path";

/** The configured program that a call asks for, or undefined for the one on PATH. */
export function chooseProgram(wanted: string, allowed: readonly string[]): string | undefined {
  if (wanted !== "" && wanted !== "lobster") {
    if (!path.isAbsolute(wanted)) throw new Error("lobsterPath must be an absolute path (or omit to use PATH)");
    if (!allowed.includes(wanted)) {
      throw new Error("lobsterPath must be one of lobsterPaths in the plugin's config (plugins.entries.lobster-go.config.lobsterPaths), or be omitted");
    }
    return checked(wanted);
  }
  const configured = allowed[0];
  if (configured === undefined) return undefined;
  if (!path.isAbsolute(configured)) throw new Error(`lobsterPaths must be absolute paths, and ${JSON.stringify(configured)} is not`);
  return checked(configured);
}

/** Windows runs batch files by a shell, which would read the pipeline as code. */
function checked(program: string): string {
  if (/\.(cmd|bat)$/i.test(program)) throw new Error("lobsterPath names a batch file, which needs a shell; name lobster.exe itself");
  return program;
}

/** The lobster on PATH. A program in `avoid`, a folder in which a model can write, does not count. */
export async function findOnPath(avoid: string | undefined): Promise<string> {
  const name = process.platform === "win32" ? "lobster.exe" : "lobster";
  const forbidden = avoid === undefined ? undefined : await fs.realpath(avoid);
  for (const dir of (process.env.PATH ?? "").split(path.delimiter)) {
    const program = path.join(dir, name);
    if (!path.isAbsolute(dir) || !(await isExecutable(program))) continue;
    if (forbidden === undefined || !isInside(await fs.realpath(program), forbidden)) return program;
  }
  throw new Error(
    "lobster is not installed: no such program is on the gateway's PATH. " +
      "Install it (go install ./cmd/lobster in a clone of lobstah) or name it in plugins.entries.lobster-go.config.lobsterPaths",
  );
}

async function isExecutable(program: string): Promise<boolean> {
  try {
    await fs.access(program, fs.constants.X_OK);
    return (await fs.stat(program)).isFile();
  } catch {
    return false;
  }
}

/** The folder to run in, without symbolic links: cwd within the workspace. */
export async function findFolder(cwd: string, workspace: string | undefined): Promise<string> {
  if (workspace === undefined) {
    if (cwd !== "") throw new Error("cwd needs a workspace, and this agent has none; omit it");
    return process.cwd();
  }
  const root = await fs.realpath(workspace);
  if (cwd === "") return root;
  const folder = await fs.realpath(path.resolve(root, cwd)).catch((cause: unknown) => {
    throw new Error(`cwd ${JSON.stringify(cwd)} does not exist in the workspace`, { cause });
  });
  if (!isInside(folder, root)) throw new Error("cwd must stay inside the agent's workspace");
  if (!(await fs.stat(folder)).isDirectory()) throw new Error(`cwd ${JSON.stringify(cwd)} is not a folder`);
  return folder;
}

function isInside(folder: string, root: string): boolean {
  const way = path.relative(root, folder);
  return way === "" || (way !== ".." && !way.startsWith(".." + path.sep) && !path.isAbsolute(way));
}
