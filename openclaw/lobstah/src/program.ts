/** Runs the lobstah program of this machine, which does all the work, and a router by it where none runs. */
import { execFile, spawn } from "node:child_process";
import fs from "node:fs/promises";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";

export const howToInstall = "Install lobstah on this machine: go install ./cmd/lobstah in a clone of its repository. Then type: lobstah up";

/** A command of lobstah that failed, in its own words. */
export class CommandFailed extends Error {
  readonly code: number | undefined;
  constructor(message: string, code: number | undefined) {
    super(message);
    this.code = code;
  }
}

export class NotInstalled extends Error {
  constructor() {
    super(`lobstah is not installed here. ${howToInstall}`);
  }
}

export class Program {
  readonly path: string;
  constructor(path: string) {
    this.path = path;
  }

  /** The configured program, or the one on PATH. */
  static async find(configured?: string, env: NodeJS.ProcessEnv = process.env): Promise<Program> {
    if (configured !== undefined) {
      if (!path.isAbsolute(configured)) throw new Error("plugins.entries.lobstah.config.lobstahPath must be an absolute path");
      return new Program(configured);
    }
    const name = process.platform === "win32" ? "lobstah.exe" : "lobstah";
    for (const dir of (env.PATH ?? "").split(path.delimiter)) {
      const candidate = path.join(dir, name);
      if (path.isAbsolute(dir) && (await isExecutable(candidate))) return new Program(candidate);
    }
    throw new NotInstalled();
  }

  /** Runs a command and returns what it prints. */
  async run(args: readonly string[], timeout = 30_000): Promise<string> {
    return await new Promise((resolve, reject) => {
      execFile(this.path, args, { timeout, maxBuffer: 8 << 20, windowsHide: true, killSignal: "SIGKILL" }, (error, stdout, stderr) => {
        if (!error) return resolve(stdout);
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return reject(new NotInstalled());
        const said = stderr.trim() || stdout.trim() || error.message;
        reject(new CommandFailed(said.replace(/^error: /, ""), typeof error.code === "number" ? error.code : undefined));
      });
    });
  }

  async json<T>(args: readonly string[], timeout?: number): Promise<T> {
    return JSON.parse(await this.run(args, timeout)) as T;
  }

  /** How a router that listens for baseUrl is started. It reaches this machine and the peers that its owner named, and looks for others only in `places`. */
  routerArgs(baseUrl: string, places: readonly string[]): string[] {
    const url = new URL(baseUrl);
    const args = ["up", "--no-check", "--host", url.hostname.replace(/^\[|\]$/g, ""), "--port", url.port || "80"];
    return [...args, ...places.flatMap((place) => ["--discover-from", place])];
  }
}

async function isExecutable(program: string): Promise<boolean> {
  try {
    await fs.access(program, fs.constants.X_OK);
    return (await fs.stat(program)).isFile();
  } catch {
    return false;
  }
}

/** Whether a base URL is this machine's own, where a router may be started for it. */
export function isLocal(baseUrl: string): boolean {
  const { hostname, protocol } = new URL(baseUrl);
  return protocol === "http:" && (hostname === "localhost" || hostname === "[::1]" || /^127(\.\d+){3}$/.test(hostname));
}

/** Where a router says that it takes requests. */
export function healthUrl(baseUrl: string): string {
  return new URL("/healthz", baseUrl).href;
}

export async function isHealthy(baseUrl: string): Promise<boolean> {
  try {
    const response = await fetch(healthUrl(baseUrl), { redirect: "error", signal: AbortSignal.timeout(2_000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

/** A router that this process started; it ends with this process, however that ends. */
export class RouterChild {
  readonly #child;
  readonly #gone: Promise<string>;
  #ended = false;

  private constructor(program: Program, args: readonly string[]) {
    this.#child = spawn(program.path, [...args, "--until-eof"], { stdio: ["pipe", "ignore", "pipe"], windowsHide: true });
    this.#child.stdin.on("error", () => {}); // it is there to be closed, so that no router outlives a gateway that is killed
    let said = "";
    this.#child.stderr.setEncoding("utf8").on("data", (text: string) => (said = (said + text).slice(-4_000)));
    this.#gone = new Promise((resolve) => {
      this.#child.once("error", (error) => resolve(error.message));
      this.#child.once("close", () => resolve(said.trim()));
    }).then((why) => {
      this.#ended = true;
      return why as string;
    });
  }

  /** Starts a router and waits until it takes requests. */
  static async start(program: Program, baseUrl: string, places: readonly string[] = [], signal?: AbortSignal, patience = 60_000): Promise<RouterChild> {
    const router = new RouterChild(program, program.routerArgs(baseUrl, places));
    for (const until = Date.now() + patience; Date.now() < until && !signal?.aborted; await Promise.race([pause(100), router.#gone])) {
      if (router.#ended) throw new CommandFailed(`lobstah up did not start: ${(await router.#gone).replace(/^error: /, "")}`, undefined);
      if (await isHealthy(baseUrl)) return router;
    }
    await router.stop();
    signal?.throwIfAborted();
    throw new Error(`lobstah up does not answer at ${baseUrl}`);
  }

  /** Ends it after its running answers. */
  async stop(): Promise<void> {
    if (!this.#ended) this.#child.kill("SIGTERM");
    await this.#gone;
  }
}
