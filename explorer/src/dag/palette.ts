/** The canvas's colours, as the style sheet has them for the theme in use. */

export interface Palette {
  readonly ground: string;
  readonly band: string;
  readonly line: string;
  readonly edge: string;
  readonly text: string;
  readonly strong: string;
  readonly pending: string;
  readonly settled: string;
  readonly operator: string;
  readonly cherry: string;
  readonly focus: string;
}

export function readPalette(element: Element): Palette {
  const style = getComputedStyle(element);
  const of = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    ground: of("panel"),
    band: of("band"),
    line: of("line"),
    edge: of("edge"),
    text: of("soft"),
    strong: of("text"),
    pending: of("pending"),
    settled: of("settled"),
    operator: of("operator"),
    cherry: of("cherry"),
    focus: of("accent"),
  };
}
