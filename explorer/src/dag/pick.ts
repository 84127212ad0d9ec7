/** Finding and walking vertices: by the pointer, and by the keys. */

import type { Camera } from "./camera.ts";
import type { DagModel, Lane, Node } from "./model.ts";

const REACH_PX = 14;

/** The drawn vertex nearest to the point, if it is near. */
export function nodeAt(model: DagModel, camera: Camera, x: number, y: number): Node | null {
  if (y > camera.plotHeight || x < camera.size.gutter) return null;
  const places = placesOf(model.lanes);
  const round = camera.toRound(x);
  const reach = REACH_PX / camera.roundPx + 1;
  let best: Node | null = null;
  let bestPx = REACH_PX;
  for (const node of model.between(Math.floor(round - reach), Math.ceil(round + reach))) {
    const dx = camera.toX(node.x) - x;
    const dy = camera.toY(places.get(node.lane) ?? 0) - y;
    const away = Math.hypot(dx, dy);
    if (away < bestPx) [best, bestPx] = [node, away];
  }
  return best;
}

export type Step = "left" | "right" | "up" | "down";

/** The next vertex from `from` in a direction: along its lane, or the nearest of the next lane. Without one, the
 * newest vertex of the first lane. */
export function walk(model: DagModel, from: Node | null, step: Step): Node | null {
  if (from === null || !model.nodes.has(from.name)) return newest(model);
  if (step === "left" || step === "right") return along(model, from, step === "left" ? -1 : 1) ?? from;
  const at = model.lanes.indexOf(from.lane) + (step === "up" ? -1 : 1);
  const lane = model.lanes[at];
  return lane === undefined ? from : (nearest(model, lane, from.x) ?? from);
}

export function placesOf(lanes: readonly Lane[]): ReadonlyMap<Lane, number> {
  return new Map(lanes.map((lane, at) => [lane, at]));
}

function newest(model: DagModel): Node | null {
  for (let round = model.head; round >= model.tail; round--) {
    const found = model.rounds.get(round)?.[0];
    if (found !== undefined) return found;
  }
  return null;
}

function along(model: DagModel, from: Node, by: 1 | -1): Node | null {
  let best: Node | null = null;
  for (let round = from.round; round >= model.tail && round <= model.head; round += by) {
    for (const node of model.rounds.get(round) ?? []) {
      const isBeyond = node.lane === from.lane && (node.x - from.x) * by > 0;
      if (isBeyond && (best === null || (best.x - node.x) * by > 0)) best = node;
    }
    if (best !== null) return best;
  }
  return null;
}

function nearest(model: DagModel, lane: Lane, x: number): Node | null {
  const round = Math.round(x);
  for (let off = 0; off <= model.head - model.tail; off++) {
    for (const at of off ? [round - off, round + off] : [round]) {
      const found = model.rounds.get(at)?.find((node) => node.lane === lane);
      if (found !== undefined) return found;
    }
  }
  return null;
}
