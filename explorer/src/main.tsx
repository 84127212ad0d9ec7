/** Starts the explorer. */

import { render } from "preact";
import { App } from "./app.tsx";
import { startTheme } from "./lib/theme.ts";
import { Session } from "./session.ts";

startTheme();
const session = new Session();
const root = document.getElementById("app");
if (root !== null) {
  root.replaceChildren();
  render(<App session={session} />, root);
}
session.start();
