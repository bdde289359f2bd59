// node --test test.mjs: no gateway, and a router that is a few lines of node:http.
import "./test/settings.mjs";
import "./test/decide.mjs";
import "./test/advice.mjs";
import "./test/hook.mjs";
import "./test/log.mjs";
