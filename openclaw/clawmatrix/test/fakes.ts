/** Fakes of the host, and a real node in a folder of its own. */
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";

export { freePort } from "../../lobstah/test/fakes.ts";

const repository = path.resolve(import.meta.dirname, "../../..");

export type Cleanup = { after(fn: () => void | Promise<void>): void };

export function folder(t: Cleanup): string {
  const dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "clawmatrix-test-")));
  t.after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** The host's log, as "level text" lines. */
export class Log {
  readonly lines: string[] = [];
  info = (text: string) => void this.lines.push(`info ${text}`);
  warn = (text: string) => void this.lines.push(`warn ${text}`);
  error = (text: string) => void this.lines.push(`error ${text}`);
  debug = (text: string) => void this.lines.push(`debug ${text}`);

  async until(pattern: RegExp, patience = 60_000): Promise<string> {
    for (const end = Date.now() + patience; Date.now() < end; await pause(20)) {
      const found = this.lines.find((line) => pattern.test(line));
      if (found !== undefined) return found;
    }
    throw new Error(`no ${pattern} in\n${this.lines.join("\n")}`);
  }
}

/** Serves a handler on loopback. */
export async function serve(t: Cleanup, handler: http.RequestListener): Promise<string> {
  const server = http.createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

let built: string | undefined;

/** Builds the real clawmatrix, once for each run of the tests. */
export function realClawmatrix(): string {
  if (built === undefined) {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), "clawmatrix-build-"));
    process.on("exit", () => fs.rmSync(dir, { recursive: true, force: true }));
    built = path.join(dir, process.platform === "win32" ? "clawmatrix.exe" : "clawmatrix");
    execFileSync("go", ["build", "-o", built, "./cmd/clawmatrix"], { cwd: repository, stdio: ["ignore", "inherit", "inherit"] });
  }
  return built;
}

export const secret = "0123456789abcdef".repeat(4);

/** Runs the real program with a configuration until the test ends. */
export async function startNode(t: Cleanup, home: string, config: object): Promise<void> {
  fs.writeFileSync(path.join(home, "config.json"), JSON.stringify(config), { mode: 0o600 });
  const child = spawn(realClawmatrix(), ["--home", home, "start", "--until-eof"], { stdio: ["pipe", "ignore", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  t.after(async () => {
    child.stdin.end();
    await gone;
  });
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the node did not start: ${said}`);
    if (/"socket"/.test(fs.existsSync(path.join(home, "lock")) ? fs.readFileSync(path.join(home, "lock"), "utf8") : "")) return;
    await pause(20);
  }
}
