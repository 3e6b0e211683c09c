/**
 * Runs one program without a shell, within limits of time and output, and leaves none of its process group behind when it
 * reaches one.
 */
import { spawn, type ChildProcess } from "node:child_process";
import path from "node:path";

export type Command = {
  program: string; // absolute
  argv: readonly string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
  timeoutMs: number;
  maxStdoutBytes: number;
  signal?: AbortSignal;
};

/** How a program ended by itself. */
export type Ending = { code: number | null; stdout: string; stderr: string };

/** How long the group has to end what it started before it is killed; lobster gives its own children a quarter of a second. */
const grace = 2_000;

const longestTimer = 2 ** 31 - 1;

export async function run(command: Command): Promise<Ending> {
  command.signal?.throwIfAborted();
  const child = spawn(command.program, [...command.argv], {
    cwd: command.cwd,
    env: command.env,
    stdio: ["ignore", "pipe", "pipe"],
    shell: false,
    windowsHide: true,
    detached: process.platform !== "win32", // a process group of its own
  });
  return await new Watch(child, command).ending;
}

class Watch {
  readonly ending: Promise<Ending>;
  readonly #child: ChildProcess;
  #failure: Error | undefined;
  #exited = false;
  #timers: NodeJS.Timeout[] = [];

  constructor(child: ChildProcess, command: Command) {
    this.#child = child;
    const stdout = this.#collect("stdout", command.maxStdoutBytes, () => this.#stop(new Error("lobster output exceeded maxStdoutBytes")));
    const stderr = this.#collect("stderr", command.maxStdoutBytes, () => {}); // the rest is dropped
    const cancelled = () => this.#stop(new Error("lobster was cancelled"));
    command.signal?.addEventListener("abort", cancelled, { once: true });
    this.#after(Math.min(command.timeoutMs, longestTimer), () => this.#timeout());
    this.ending = new Promise<Ending>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", () => this.#exit());
      child.once("close", (code) => {
        if (this.#failure) reject(this.#failure);
        else resolve({ code, stdout: stdout(), stderr: stderr() });
      });
    }).finally(() => {
      command.signal?.removeEventListener("abort", cancelled);
      for (const timer of this.#timers) clearTimeout(timer);
    });
  }

  #collect(name: "stdout" | "stderr", limit: number, exceeded: () => void): () => string {
    const chunks: Buffer[] = [];
    let bytes = 0;
    this.#child[name]?.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= limit) chunks.push(chunk);
      else exceeded();
    });
    return () => Buffer.concat(chunks).toString("utf8");
  }

  #after(ms: number, act: () => void) {
    this.#timers.push(setTimeout(act, ms));
  }

  #timeout() {
    if (this.#exited) this.#closePipes(); // it is over; something else holds its output open
    else this.#stop(new Error("lobster subprocess timed out"));
  }

  #stop(why: Error) {
    if (this.#failure) return;
    this.#failure = why;
    this.#signal("SIGTERM"); // lets lobster end the groups of its steps
    this.#after(grace, () => this.#kill());
  }

  #exit() {
    this.#exited = true;
    if (this.#failure) this.#kill();
  }

  #kill() {
    this.#signal("SIGKILL");
    this.#closePipes();
  }

  #closePipes() {
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
  }

  #signal(name: "SIGTERM" | "SIGKILL") {
    const pid = this.#child.pid;
    if (pid === undefined) return; // it did not start
    if (process.platform === "win32") return killTree(this.#child, pid);
    try {
      process.kill(-pid, name);
    } catch (error) {
      // Nobody is left, which is what we want; of a group that is only waited for, macOS says EPERM.
      if (!["ESRCH", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
  }
}

/** Windows knows no groups; its own program ends a process with all that it started. */
function killTree(child: ChildProcess, pid: number) {
  const taskkill = path.join(process.env.SystemRoot ?? "C:\\Windows", "System32", "taskkill.exe");
  spawn(taskkill, ["/PID", String(pid), "/T", "/F"], { stdio: "ignore", windowsHide: true }).on("error", () => child.kill());
}
