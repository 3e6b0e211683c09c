/** What is typed: `/lobstah ...` in a chat and `openclaw lobstah ...` in a terminal mean the same. */
import { isHealthy, isLocal, Program, RouterChild } from "./program.ts";
import { readStatus, renderShare, renderStatus, type Share, type Status } from "./status.ts";

export const usage = "usage: status | share on | share off | share status";

/** What was typed wrongly. */
export class Misuse extends Error {}

/** The plugin's part of the config, as its manifest's schema lets it pass. */
export type LobstahConfig = { lobstahPath?: string; offer?: boolean; discoverFrom?: string[] };

/** Starting a worker may have to wait for an engine that loads a model. */
const sharePatience = 10 * 60_000;

/** A hand on lobstah. One that stays (a gateway's) starts a router where it needs one, and ends that with itself. */
export class Control {
  readonly #config: () => LobstahConfig;
  readonly #baseUrl: () => string;
  readonly #stays: boolean;
  #router: RouterChild | undefined;
  #turn: Promise<unknown> = Promise.resolve(); // routers start and end one after the other
  #stopping = new AbortController(); // ends a start that is under way

  constructor(config: () => LobstahConfig, baseUrl: () => string, stays: boolean) {
    this.#config = config;
    this.#baseUrl = baseUrl;
    this.#stays = stays;
  }

  async do(words: readonly string[]): Promise<{ text: string; json: Status | Share }> {
    const program = await Program.find(this.#config().lobstahPath);
    switch (words.join(" ")) {
      case "":
      case "status": {
        const status = await readStatus(program);
        return { text: renderStatus(status), json: status };
      }
      case "share":
      case "share status":
        return shown(await program.json<Share>(["share", "status", "--json"]));
      case "share on":
        await this.#ensureRouter(program);
        return shown(await program.json<Share>(["share", "on", "--json"], sharePatience));
      case "share off":
        return shown(await program.json<Share>(["share", "off", "--json"]));
    }
    throw new Misuse(usage);
  }

  /** Does what the owner opted in to; without a yes, nothing. */
  async start(): Promise<void> {
    const { offer, discoverFrom = [], lobstahPath } = this.#config();
    if (!offer && discoverFrom.length === 0) return;
    const program = await Program.find(lobstahPath);
    await this.#ensureRouter(program);
    if (offer) await program.run(["share", "on"], sharePatience);
  }

  /** Starts a router where none runs, in a process that stays to end it. */
  async #ensureRouter(program: Program): Promise<void> {
    if (this.#stays) await this.#inTurn(() => this.#begin(program, this.#stopping.signal));
  }

  async #begin(program: Program, stopping: AbortSignal): Promise<void> {
    stopping.throwIfAborted();
    if ((await readStatus(program)).process.running) return;
    await this.#end(); // one that ended by itself
    const baseUrl = this.#baseUrl();
    if (!isLocal(baseUrl)) throw new Error(`the router at ${baseUrl} is another machine's; what it shares is decided there`);
    if (await isHealthy(baseUrl)) throw new Error(`something else answers at ${baseUrl}, with another home folder (LOBSTAH_HOME)`);
    this.#router = await RouterChild.start(program, baseUrl, this.#config().discoverFrom, stopping);
  }

  /** Ends a router that it started, or is about to. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the gateway ends"));
    this.#stopping = new AbortController();
    await this.#inTurn(() => this.#end());
  }

  async #end(): Promise<void> {
    const router = this.#router;
    this.#router = undefined;
    await router?.stop();
  }

  async #inTurn(act: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(act);
    this.#turn = done.catch(() => {}); // who asked hears of it
    await done;
  }
}

function shown(share: Share) {
  return { text: renderShare(share), json: share };
}
