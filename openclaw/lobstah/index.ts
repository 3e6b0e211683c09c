/**
 * The plugin's entry: the model provider `lobstah`, the chat command `/lobstah`, the terminal command `openclaw lobstah`, and a
 * service that does what the owner opted in to. What any of them does, the lobstah program of this machine does.
 */
import type { OpenClawPluginApi } from "openclaw/plugin-sdk/plugin-entry";
import { Control, Misuse, usage, type LobstahConfig } from "./src/control.ts";
import { defaultBaseUrl, providerId } from "./src/onboarding.ts";
import { createProvider } from "./src/provider.ts";

export default {
  id: providerId,
  name: "Lobstah grid",
  description: "Model provider: the machines that you and your friends pool with lobstah.",
  register(api: OpenClawPluginApi) {
    const config = () => (api.pluginConfig ?? {}) as LobstahConfig;
    const baseUrl = () => api.config.models?.providers?.[providerId]?.baseUrl ?? defaultBaseUrl;
    const control = new Control(config, baseUrl, true);
    api.registerProvider(createProvider((text) => api.logger.warn(`lobstah: ${text}`)));
    registerChat(api, control);
    registerTerminal(api, new Control(config, baseUrl, false));
    api.registerService({
      id: "lobstah",
      start: async () => {
        try {
          await control.start();
        } catch (error) {
          api.logger.error(`lobstah: ${message(error)}`); // the gateway has other work than this
        }
      },
      stop: () => control.stop(),
    });
  },
};

/** The host lets only owners use it: it tells whom one trades with, and shares the machine. */
function registerChat(api: OpenClawPluginApi, control: Control) {
  api.registerCommand({
    name: "lobstah",
    description: "The lobstah grid: status, or share on|off|status",
    acceptsArgs: true,
    requiredScopes: ["operator.admin"],
    handler: async ({ args }) => {
      try {
        return { text: (await control.do(words(args))).text };
      } catch (error) {
        return { text: message(error) };
      }
    },
  });
}

function registerTerminal(api: OpenClawPluginApi, control: Control) {
  api.registerCli(
    ({ program }) => {
      const root = program.command("lobstah").description("The lobstah grid: peers, balance, receipts, sharing");
      const add = (name: string, description: string, before: string[]) =>
        root
          .command(name)
          .description(description)
          .option("--json", "print JSON")
          .action(async (...given: unknown[]) => {
            const options = given.at(-2) as { json?: boolean };
            const typed = given.slice(0, -2).filter((word) => typeof word === "string");
            await print(control, [...before, ...typed], options.json === true);
          });
      add("status", "Who is there, who owes what, the last receipts", ["status"]);
      add("share [state]", "Lend this machine's models to the keys that are allowed: on, off or status", ["share"]);
    },
    { descriptors: [{ name: "lobstah", description: "The lobstah grid: peers, balance, receipts, sharing", hasSubcommands: true }] },
  );
}

async function print(control: Control, typed: string[], asJSON: boolean) {
  try {
    const { text, json } = await control.do(typed);
    process.stdout.write((asJSON ? JSON.stringify(json, null, 2) : text) + "\n");
  } catch (error) {
    process.stderr.write(`error: ${message(error)}\n`);
    process.exitCode = error instanceof Misuse ? 2 : 1;
  }
}

function words(args: string | undefined): string[] {
  return (args ?? "").split(/\s+/).filter((word) => word !== "");
}

function message(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text || usage;
}
