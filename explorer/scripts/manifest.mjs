// Writes build.json beside the built assets: from which sources they are, and what they hash to.
// tests/unit/test_explorer_build.py computes the same without Node.js.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const STATIC = join(ROOT, "..", "engine", "cherrydag", "explorer", "static");
const SOURCES = ["index.html", "package.json", "package-lock.json", "scripts", "src", "tsconfig.json", "vite.config.ts"];

const sha256 = (data) => createHash("sha256").update(data).digest("hex");

function filesOf(path) {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path).flatMap((name) => filesOf(join(path, name)));
}

function hashesOf(base, paths) {
  const files = paths.flatMap((path) => filesOf(join(base, path)));
  const named = files.map((file) => [relative(base, file).split(sep).join("/"), sha256(readFileSync(file))]);
  return named.sort(([a], [b]) => (a < b ? -1 : 1));
}

const sources = hashesOf(ROOT, SOURCES).map(([name, hash]) => `${name}\0${hash}\n`).join("");
const files = Object.fromEntries(hashesOf(STATIC, ["."]).filter(([name]) => name !== "build.json"));
writeFileSync(join(STATIC, "build.json"), `${JSON.stringify({ sources: sha256(sources), files }, null, 1)}\n`);
