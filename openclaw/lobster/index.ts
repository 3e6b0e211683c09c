/**
 * The plugin's entry: registers the optional tool `lobster`, which src/lobster-tool.ts makes.
 *
 * The plugin's id is not the tool's name: `lobster` belongs to the official plugin, which runs workflows inside the gateway.
 */
import type { OpenClawPluginApi } from "openclaw/plugin-sdk/plugin-entry";
import { createLobsterTool } from "./src/lobster-tool.ts";

export default {
  id: "lobster-go",
  name: "Lobster workflows",
  description: "Workflows that stop for a person's approval, run by the lobster program of this machine.",
  register(api: OpenClawPluginApi) {
    api.registerTool((ctx) => (ctx.sandboxed ? null : createLobsterTool(api, ctx)), { name: "lobster", optional: true });
  },
};
