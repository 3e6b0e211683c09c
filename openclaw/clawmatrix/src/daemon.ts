/**
 * Runs the clawmatrix program while the gateway runs: one that already runs with the same home folder is used and left alone, one
 * that ends by itself is started again.
 */
import { spawn, type ChildProcess } from "node:child_process";
import fs from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import type { OpenClawPluginApi } from "openclaw/plugin-sdk/plugin-entry";
import { Node, NotRunning, type Report } from "./node.ts";

export const howToInstall = "Install clawmatrix on this machine: go install ./cmd/clawmatrix in a clone of its repository, or name its absolute path in plugins.entries.clawmatrix.config.binary";

type Logger = OpenClawPluginApi["logger"];

/** How long a node may take to begin: it draws a key from the secret, which is slow on purpose, and looks for engines. */
const startPatience = 120_000;
const stopPatience = 4_000;

/** A node that ran and ended is started again after a second, then two, and so on up to a minute. */
const [firstPause, longestPause] = [1_000, 60_000];

export type Plan = {
  binary: string;
  home: string;
  config: string | undefined; // text of the configuration to write; without one, that of the home
  env: NodeJS.ProcessEnv;
};

/** The configured program, or the one on PATH. */
export async function findProgram(configured: string | undefined, env: NodeJS.ProcessEnv): Promise<string> {
  if (configured !== undefined) {
    if (!path.isAbsolute(configured)) throw new Error("plugins.entries.clawmatrix.config.binary must be an absolute path");
    if (!(await isProgram(configured))) throw new Error(`there is no program at ${configured} (plugins.entries.clawmatrix.config.binary)`);
    return configured;
  }
  const name = process.platform === "win32" ? "clawmatrix.exe" : "clawmatrix";
  for (const dir of (env.PATH ?? "").split(path.delimiter)) {
    if (path.isAbsolute(dir) && (await isProgram(path.join(dir, name)))) return path.join(dir, name);
  }
  throw new Error(`clawmatrix is not installed here. ${howToInstall}`);
}

async function isProgram(file: string): Promise<boolean> {
  try {
    await fs.access(file, fs.constants.X_OK);
    return (await fs.stat(file)).isFile();
  } catch {
    return false;
  }
}

/** Writes a file that only its owner can read, whole or not at all. */
export async function writePrivate(file: string, text: string): Promise<void> {
  await fs.mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const fresh = `${file}.${process.pid}.tmp`;
  await fs.writeFile(fresh, text, { mode: 0o600, flag: "wx" }).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error; // of a process of the same number that died in the middle
    await fs.rm(fresh);
    await fs.writeFile(fresh, text, { mode: 0o600, flag: "wx" });
  });
  await fs.rename(fresh, file);
}

const mark = "# Written by OpenClaw's clawmatrix plugin at each start, from plugins.entries.clawmatrix.config\n";

/** Writes the node's configuration, but not over one that somebody else wrote. */
async function writeConfiguration(home: string, text: string): Promise<void> {
  for (const name of ["config.yaml", "config.json"]) {
    const there = await fs.readFile(path.join(home, name), "utf8").catch(() => undefined);
    if (there !== undefined && !there.startsWith(mark)) {
      throw new Error(`${path.join(home, name)} is another configuration: remove the node's fields from plugins.entries.clawmatrix.config to use it, or name another folder in home`);
    }
  }
  await writePrivate(path.join(home, "config.yaml"), mark + text); // JSON is YAML, too
}

export class Daemon {
  readonly node: Node;
  readonly #plan: Plan;
  readonly #log: Logger;
  readonly #stopped = new AbortController();
  #child: ChildProcess | undefined;
  #life: Promise<void> = Promise.resolve();

  constructor(plan: Plan, log: Logger) {
    this.#plan = plan;
    this.#log = log;
    this.node = new Node(plan.home);
  }

  /** Begins; what becomes of it is logged. The gateway has other work than to wait for it. */
  start(): void {
    this.#life = this.#live().catch((error: unknown) => this.#log.error(`clawmatrix: ${error instanceof Error ? error.message : String(error)}`));
  }

  /** Ends what it started. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#child?.kill("SIGTERM");
    const timer = setTimeout(() => this.#child?.kill("SIGKILL"), stopPatience);
    await this.#life;
    clearTimeout(timer);
  }

  async #live(): Promise<void> {
    const running = await this.#running();
    if (running) return this.#log.info(`clawmatrix: uses the node ${running.node} (process ${running.pid}) that already runs with ${this.#plan.home}, and leaves it running`);
    const args = await this.#arguments();
    let ran = false;
    for (let wait = firstPause; !this.#stopped.signal.aborted; wait = Math.min(2 * wait, longestPause)) {
      const began = Date.now();
      const { ready, words } = await this.#run(args);
      if (this.#stopped.signal.aborted) return;
      if (!ready && !ran) throw new Error(`clawmatrix did not start: ${words.trim() || "it said nothing"}`);
      ran = true;
      if (Date.now() - began > longestPause) wait = firstPause;
      this.#log.error(`clawmatrix: the node ended: ${words.trim().split("\n").at(-1) ?? ""}; it is started again in ${wait / 1000} s`);
      await pause(wait, undefined, { signal: this.#stopped.signal }).catch(() => {}); // stopped
    }
  }

  async #running(): Promise<Report | undefined> {
    try {
      return await this.node.status();
    } catch (error) {
      if (error instanceof NotRunning) return undefined;
      throw error;
    }
  }

  async #arguments(): Promise<string[]> {
    const { home, config } = this.#plan;
    if (config !== undefined) await writeConfiguration(home, config);
    return ["--home", home, "start", "--log-json", "--until-eof"];
  }

  /** Runs the program until it ends, and tells whether it was ready and its last words. */
  async #run(args: string[]): Promise<{ ready: boolean; words: string }> {
    const child = spawn(this.#plan.binary, args, { env: this.#plan.env, stdio: ["pipe", "ignore", "pipe"], windowsHide: true });
    this.#child = child;
    child.stdin?.on("error", () => {}); // it is there to be closed, so that no node outlives a gateway that is killed
    let words = "";
    createInterface({ input: child.stderr }).on("line", (line) => {
      words = (words + this.#say(line) + "\n").slice(-2_000);
    });
    const gone = new Promise<void>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", () => resolve());
    });
    const ready = await Promise.race([this.#ready(child), gone.then(() => false)]);
    if (this.#stopped.signal.aborted) child.kill("SIGTERM"); // it was asked to before there was a child
    await gone;
    return { ready, words };
  }

  async #ready(child: ChildProcess): Promise<boolean> {
    for (const until = Date.now() + startPatience; Date.now() < until && child.exitCode === null && child.signalCode === null; await pause(100)) {
      const report = await this.#running();
      if (report === undefined) continue;
      this.#log.info(`clawmatrix: the node ${report.node} runs (process ${report.pid}), its models are at ${report.proxy}/v1`);
      for (const problem of report.problems ?? []) this.#log.warn(`clawmatrix: ${problem}`);
      return true;
    }
    return false;
  }

  /** Passes a line of the program's log on, and returns it as it reads for people. */
  #say(line: string): string {
    let entry: { level?: string; msg?: string; time?: string } & Record<string, unknown>;
    try {
      entry = JSON.parse(line) as typeof entry;
    } catch {
      const level = /^(warning|hint): /.exec(line)?.[1] ? "warn" : "debug"; // what it says before it logs
      this.#log[level]?.(`clawmatrix: ${line.replace(/^warning: /, "")}`);
      return line.replace(/^error: /, "");
    }
    const { level, msg, time: _, part, ...rest } = entry;
    const said = [msg, ...Object.entries(rest).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)].join(" ");
    const method = level === "ERROR" ? "error" : level === "WARN" ? "warn" : level === "INFO" ? "info" : "debug";
    this.#log[method]?.(`clawmatrix: ${part ? `${String(part)}: ` : ""}${said}`);
    return said;
  }
}
