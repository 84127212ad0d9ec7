/** Light or dark: as the system says, until the reader chooses. */

const KEY = "cherrydag-theme";

export type Theme = "light" | "dark";

const listeners = new Set<() => void>();
const system = matchMedia("(prefers-color-scheme: dark)");
let chosen: Theme | null = null;

export function startTheme(): void {
  chosen = kept();
  system.addEventListener("change", show);
  show();
}

export function theme(): Theme {
  return chosen ?? (system.matches ? "dark" : "light");
}

export function toggleTheme(): void {
  chosen = theme() === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, chosen);
  } catch {
    // A browser that keeps nothing: the choice holds for this page.
  }
  show();
}

/** Hear when the colours change. */
export function onTheme(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function show(): void {
  document.documentElement.dataset["theme"] = theme();
  for (const listener of listeners) listener();
}

function kept(): Theme | null {
  try {
    const found = localStorage.getItem(KEY);
    return found === "light" || found === "dark" ? found : null;
  } catch {
    return null;
  }
}
