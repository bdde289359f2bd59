// Registration only: the decision lies in hook.mjs and what it imports.
import { definePluginEntry } from "openclaw/plugin-sdk/plugin-entry";
import { intentHook } from "./hook.mjs";

const PRIORITY = 50;

export default definePluginEntry({
  id: "openclaw-anvil-intent-router",
  name: "Anvil intent router",
  description: "Sends each turn to the anvil preset that fits it, or leaves it to the native provider.",
  register(api) {
    const document = () => api.runtime?.config?.current?.() ?? api.config;
    const hook = intentHook({ config: api.pluginConfig, document, warn: (text) => api.logger?.warn?.(text) });
    api.on("before_model_resolve", hook, { priority: PRIORITY });
  },
});
