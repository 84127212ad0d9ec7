/** How much of the DAG is drawn: above a budget every n-th edge, then every n-th vertex of the busiest lanes. */

export const EDGES_BUDGET = 7_000;
export const VERTICES_BUDGET = 5_000;
const STEPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024];
const SLACK = 0.75; // a smaller step must fit so much of the budget, or the picture would flicker

export interface Load {
  /** Vertices in view, by lane. */
  readonly vertices: ReadonlyMap<string, number>;
  readonly edges: number;
}

/** Of n edges or vertices one is drawn; 1 draws all. Lanes that are not named draw all. */
export interface Plan {
  readonly edgeStep: number;
  readonly laneSteps: ReadonlyMap<string, number>;
}

export const ALL: Plan = { edgeStep: 1, laneSteps: new Map() };

export function planFor(load: Load, before: Plan, edgesBudget = EDGES_BUDGET, verticesBudget = VERTICES_BUDGET): Plan {
  const cap = laneCap([...load.vertices.values()], verticesBudget);
  const laneSteps = new Map<string, number>();
  for (const [lane, count] of load.vertices) {
    const step = stepFor(count, cap, before.laneSteps.get(lane) ?? 1);
    if (step > 1) laneSteps.set(lane, step);
  }
  return { edgeStep: stepFor(load.edges, edgesBudget, before.edgeStep), laneSteps };
}

/** The most vertices that each lane may draw so that all lanes together keep to the budget. */
export function laneCap(counts: readonly number[], budget: number): number {
  const ascending = [...counts].sort((a, b) => a - b);
  let left = budget;
  for (const [at, count] of ascending.entries()) {
    const share = left / (ascending.length - at);
    if (count > share) return Math.max(1, Math.floor(share));
    left -= count;
  }
  return Number.POSITIVE_INFINITY;
}

function stepFor(count: number, budget: number, before: number): number {
  const fits = (step: number, room: number): boolean => count / step <= room;
  const least = STEPS.find((step) => fits(step, budget)) ?? STEPS[STEPS.length - 1] ?? 1;
  if (least >= before) return least;
  return Math.min(before, STEPS.find((step) => fits(step, budget * SLACK)) ?? before);
}

export function samePlan(a: Plan, b: Plan): boolean {
  if (a.edgeStep !== b.edgeStep || a.laneSteps.size !== b.laneSteps.size) return false;
  return [...a.laneSteps].every(([lane, step]) => b.laneSteps.get(lane) === step);
}

/** What is left out, in words; empty if nothing is. */
export function planWords(plan: Plan): string {
  const parts: string[] = [];
  if (plan.edgeStep > 1) parts.push(`1 of ${plan.edgeStep} edges`);
  const steps = [...plan.laneSteps.values()];
  if (steps.length) {
    const [low, high] = [Math.min(...steps), Math.max(...steps)];
    const range = low === high ? `${low}` : `${low} to ${high}`;
    parts.push(`1 of ${range} vertices in ${steps.length} busy ${steps.length === 1 ? "lane" : "lanes"}`);
  }
  return parts.length ? `Drawing ${parts.join(" and ")}` : "";
}
