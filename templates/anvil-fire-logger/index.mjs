// Registration only: what is written lies in fires.mjs.
import { definePluginEntry } from "openclaw/plugin-sdk/plugin-entry";
import { fireHook } from "./fires.mjs";

const PRIORITY = 40;

export default definePluginEntry({
  id: "anvil-fire-logger",
  name: "Anvil fire logger",
  description: "Writes one line for every call of the before_model_resolve hook.",
  register(api) {
    api.on("before_model_resolve", fireHook(api.pluginConfig?.log), { priority: PRIORITY });
  },
});
