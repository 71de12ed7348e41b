// The page's logger: that of the npm package `cordboard`, whose modules are served below client/.

import { apiUrl } from "./api.js";
import { queue } from "./client/logger.js";
import { flushWhenHidden, logErrors } from "./client/page_errors.js";

export { flush as flushNow, getClientLogger, setSession as setLogContext } from "./client/logger.js";

/** Send the page's lines, and log errors that no code caught. */
export function installLogger() {
  logErrors();
  queue.start(apiUrl("/logs"));
  flushWhenHidden();
}
