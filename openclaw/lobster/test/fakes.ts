/** Programs that stand in for lobster where a test needs output that the real one never prints, and the real one. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { TestContext } from "node:test";
import type { Host, LobsterConfig } from "../src/lobster-tool.ts";

const repository = path.resolve(import.meta.dirname, "../../..");

export function folder(t: Pick<TestContext, "after">): string {
  const dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "openclaw-lobster-")));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Writes a program of JavaScript, or of another interpreter. */
export function fake(t: Pick<TestContext, "after">, body: string, interpreter = process.execPath): string {
  const program = path.join(folder(t), "lobster");
  fs.writeFileSync(program, `#!${interpreter}\n${body}\n`, { mode: 0o755 });
  return program;
}

/** A host that knows of these programs. */
export function host(programs: string[] = [], more: Partial<Host> & { plugin?: LobsterConfig } = {}): Host {
  const { plugin, ...rest } = more;
  return { config: {}, pluginConfig: { lobsterPaths: programs, ...plugin }, ...rest } as Host;
}

/** Lets a limit of time be over when something is so, however busy this machine is. */
export function whenOver(t: TestContext, limit: number, so: () => boolean) {
  const real = globalThis.setTimeout;
  const watch = (act: () => void) => {
    const look = setInterval(() => {
      if (!so()) return;
      clearInterval(look);
      act();
    }, 10);
    return look;
  };
  t.mock.method(globalThis, "setTimeout", (act: () => void, ms?: number) => (ms === limit ? watch(act) : real(act, ms)));
}

/** Whether there is a process, one included that is dead and that nobody has asked about yet. */
export function exists(pid: number): boolean {
  assert.ok(pid > 1);
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function isDead(pid: number): boolean {
  if (!exists(pid)) return true;
  if (process.platform !== "linux") return false;
  try {
    return / Z /.test(fs.readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return true; // it went just now
  }
}

export async function assertGone(pid: number) {
  for (const end = Date.now() + 60_000; !isDead(pid); await pause(10)) assert.ok(Date.now() < end, `process ${pid} still runs`);
}

let built: string | undefined;

/** Builds the real lobster, once for each run of the tests. */
export function realLobster(): string {
  if (built === undefined) {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), "lobster-build-"));
    process.on("exit", () => fs.rmSync(dir, { recursive: true, force: true }));
    built = path.join(dir, process.platform === "win32" ? "lobster.exe" : "lobster");
    execFileSync("go", ["build", "-o", built, "./cmd/lobster"], { cwd: repository, stdio: ["ignore", "inherit", "inherit"] });
  }
  return built;
}
