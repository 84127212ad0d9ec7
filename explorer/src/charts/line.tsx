/** A small line chart of the last two minutes, drawn as SVG once a second. */

import type { JSX } from "preact";
import { niceCeiling } from "./series.ts";

const WIDTH = 480;
const HEIGHT = 120;
const SECONDS = 120;
const SECONDS_MIN = 30; // a young chart is not squeezed to the edge

export interface Line {
  readonly name: string;
  readonly tone: "first" | "second";
  /** One value a second, the newest last; null where there is none. */
  readonly values: readonly (number | null)[];
}

interface Props {
  readonly title: string;
  readonly note: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
}

export function LineChart({ title, note, lines, format }: Props): JSX.Element {
  const known = lines.flatMap((line) => line.values.filter((value) => value !== null));
  const top = niceCeiling(Math.max(0, ...known));
  const now = lines.map((line) => `${line.name} ${words(last(line), format)}`).join(", ");
  return (
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{title}</span>
        <span class="chart-now">
          {lines.map((line) => (
            <span key={line.name} class={`key ${line.tone}`}>
              {line.name} <b>{words(last(line), format)}</b>
            </span>
          ))}
        </span>
      </figcaption>
      <div class="chart-body">
        <div class="chart-scale" aria-hidden="true">
          <span>{format(top)}</span>
          <span>{format(top / 2)}</span>
          <span>{format(0)}</span>
        </div>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`${title}, last two minutes. Now: ${now}. Scale up to ${format(top)}.`}>
          {[0, 0.5, 1].map((part) => (
            <line key={part} class="rule" x1="0" x2={WIDTH} y1={yOf(part)} y2={yOf(part)} />
          ))}
          {lines.map((line) => (
            <path key={line.name} class={`trace ${line.tone}`} d={pathOf(line.values, top)} />
          ))}
        </svg>
      </div>
      <p class="chart-note">{note}</p>
    </figure>
  );
}

function last(line: Line): number | null {
  return line.values[line.values.length - 1] ?? null;
}

function words(value: number | null, format: (value: number) => string): string {
  return value === null ? "none" : format(value);
}

function yOf(part: number): number {
  return 2 + (1 - part) * (HEIGHT - 4);
}

/** One stroke for each run of values without a gap. */
export function pathOf(values: readonly (number | null)[], top: number): string {
  const shown = values.slice(-SECONDS);
  const step = WIDTH / (Math.max(SECONDS_MIN, shown.length) - 1);
  const start = WIDTH - (shown.length - 1) * step;
  let path = "";
  let isDown = false;
  for (const [at, value] of shown.entries()) {
    if (value !== null) path += `${isDown ? "L" : "M"}${(start + at * step).toFixed(1)} ${yOf(value / top).toFixed(1)}`;
    isDown = value !== null;
  }
  return path;
}
