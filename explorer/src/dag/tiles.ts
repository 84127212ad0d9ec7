/** The picture in tiles of some rounds, each painted once and then only added to. A frame copies tiles, so that its
 * cost does not grow with what they show. */

import type { Camera } from "./camera.ts";
import type { DagModel, Lane, Node } from "./model.ts";
import type { Palette } from "./palette.ts";
import { placesOf } from "./pick.ts";
import type { Plan } from "./thin.ts";

const TILE_PX = 480;
const TILES_SPARE = 2; // that are kept beyond those in view
const TAU = 2 * Math.PI;

interface Tile {
  readonly edges: CanvasRenderingContext2D;
  readonly dots: CanvasRenderingContext2D;
  usedAt: number;
}

export class Tiles {
  private readonly tiles = new Map<number, Tile>();
  private rounds = 16; // of one tile
  private scale = 1;
  private lanePx = 1;
  private laneCount = 0;
  private places: ReadonlyMap<Lane, number> = new Map();
  private uses = 0;

  constructor(
    private readonly model: DagModel,
    private readonly plan: () => Plan,
    private palette: Palette,
  ) {}

  /** Forget all: the scale, the lanes, the plan or the colours are others. */
  reset(camera: Camera, palette: Palette): void {
    this.tiles.clear();
    this.palette = palette;
    this.rounds = Math.max(1, Math.round(TILE_PX / camera.roundPx));
    this.scale = camera.roundPx;
    this.lanePx = camera.lanePx;
    this.laneCount = this.model.lanes.length;
    this.places = placesOf(this.model.lanes);
  }

  /** Add what is new to the tiles that there are. */
  add(added: readonly Node[], committed: readonly Node[]): void {
    for (const node of added) {
      this.each(node, (tile, origin) => this.paintEdges(tile, node, origin));
      this.each(node, (tile, origin) => this.paintDot(tile, node, origin), true);
    }
    for (const node of committed) this.each(node, (tile, origin) => this.paintDot(tile, node, origin), true);
  }

  /** Copy what is in view: first the edges, then what `between` draws, then the vertices. */
  draw(target: CanvasRenderingContext2D, camera: Camera, between: () => void): void {
    const first = Math.floor((camera.left - 1) / this.rounds);
    const last = Math.floor((camera.right + 1) / this.rounds);
    const height = Math.max(1, this.laneCount * this.lanePx);
    const width = this.rounds * this.scale;
    const shown: [Tile, number][] = [];
    for (let at = first; at <= last; at++) shown.push([this.tile(at), camera.toX(at * this.rounds)]);
    for (const [tile, x] of shown) target.drawImage(tile.edges.canvas, x, -camera.top, width, height);
    between();
    for (const [tile, x] of shown) target.drawImage(tile.dots.canvas, x, -camera.top, width, height);
    this.evict(shown.length + TILES_SPARE);
  }

  /** Whether a vertex is drawn under the plan. */
  isShown(node: Node): boolean {
    const step = this.plan().laneSteps.get(node.lane.key) ?? 1;
    return step === 1 || node.isLeader || node.chance % step === 0;
  }

  private tile(at: number): Tile {
    let tile = this.tiles.get(at);
    if (tile === undefined) {
      tile = { edges: this.surface(), dots: this.surface(), usedAt: 0 };
      this.tiles.set(at, tile);
      const origin = at * this.rounds;
      const nodes = [...this.model.between(origin - 2, origin + this.rounds + 8)];
      for (const node of nodes) this.paintEdges(tile, node, origin);
      for (const node of nodes) this.paintDot(tile, node, origin);
    }
    tile.usedAt = ++this.uses;
    return tile;
  }

  private surface(): CanvasRenderingContext2D {
    const canvas = document.createElement("canvas");
    const ratio = Math.min(2, devicePixelRatio || 1);
    canvas.width = Math.ceil(this.rounds * this.scale * ratio);
    canvas.height = Math.ceil(Math.max(1, this.laneCount * this.lanePx) * ratio);
    const context = canvas.getContext("2d");
    if (context === null) throw new Error("this browser has no 2D canvas");
    context.scale(canvas.width / (this.rounds * this.scale), canvas.height / Math.max(1, this.laneCount * this.lanePx));
    return context;
  }

  /** Call for each tile that the node's edges, or its dot alone, reach. */
  private each(node: Node, act: (tile: Tile, origin: number) => void, isDot = false): void {
    let from = node.x - 1;
    if (!isDot) for (const parent of node.parents) from = Math.min(from, parent.x);
    const last = Math.floor((node.x + 1) / this.rounds);
    for (let at = Math.floor(from / this.rounds); at <= last; at++) {
      const tile = this.tiles.get(at);
      if (tile !== undefined) act(tile, at * this.rounds);
    }
  }

  private paintEdges(tile: Tile, node: Node, origin: number): void {
    if (!this.isShown(node)) return;
    const { edges } = tile;
    const step = this.plan().edgeStep;
    const [x, y] = [(node.x - origin) * this.scale, this.yOf(node)];
    edges.beginPath();
    for (const parent of node.parents) {
      if ((step > 1 && (node.chance ^ parent.chance) % step !== 0) || !this.isShown(parent)) continue;
      edges.moveTo(x, y);
      edges.lineTo((parent.x - origin) * this.scale, this.yOf(parent));
    }
    edges.strokeStyle = this.palette.edge;
    edges.lineWidth = this.scale < 14 ? 0.6 : 0.9;
    edges.stroke();
  }

  private paintDot(tile: Tile, node: Node, origin: number): void {
    if (!this.isShown(node)) return;
    paintDot(tile.dots, node, (node.x - origin) * this.scale, this.yOf(node), this.radius(), this.palette);
  }

  private radius(): number {
    return dotRadius(this.scale, this.lanePx);
  }

  private yOf(node: Node): number {
    return ((this.places.get(node.lane) ?? 0) + 0.5) * this.lanePx;
  }

  private evict(most: number): void {
    if (this.tiles.size <= most) return;
    const oldest = [...this.tiles].sort(([, a], [, b]) => a.usedAt - b.usedAt);
    for (const [at] of oldest.slice(0, this.tiles.size - most)) this.tiles.delete(at);
  }
}

export function dotRadius(roundPx: number, lanePx: number): number {
  return Math.min(6, Math.max(1.6, Math.min(roundPx * 0.26, lanePx * 0.2)));
}

/** Validators' vertices are round, operators' are bars; hollow until a commit orders them. */
export function paintDot(to: CanvasRenderingContext2D, node: Node, x: number, y: number, radius: number, palette: Palette): void {
  const isSettled = node.commitIndex !== null;
  const hue = node.lane.kind === "validator" ? palette.settled : palette.operator;
  to.beginPath();
  if (node.isLeader) {
    to.arc(x, y, radius * 1.75 + 0.5, 0, TAU);
    to.fillStyle = palette.ground;
    to.fill();
    to.strokeStyle = palette.cherry;
    to.lineWidth = Math.max(1, radius * 0.32);
    to.stroke();
    to.beginPath();
    to.arc(x, y, radius, 0, TAU);
    to.fillStyle = palette.cherry;
    to.fill();
    return;
  }
  if (node.lane.kind === "validator") to.arc(x, y, radius, 0, TAU);
  else to.rect(x - radius * 0.38, y - radius, radius * 0.76, radius * 2); // slim: a round may have several
  to.fillStyle = isSettled ? hue : palette.ground;
  to.fill();
  to.strokeStyle = isSettled ? hue : palette.pending;
  to.lineWidth = Math.max(0.8, radius * 0.28);
  to.stroke();
}
