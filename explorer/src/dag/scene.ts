/** The canvas of the live DAG: what a frame draws, and when there is one. */

import { Camera } from "./camera.ts";
import { RoundMeter } from "./meter.ts";
import type { Changes, DagModel, Lane, Node } from "./model.ts";
import type { Palette } from "./palette.ts";
import { placesOf } from "./pick.ts";
import { ALL, planFor, samePlan, type Plan } from "./thin.ts";
import { Tiles, dotRadius } from "./tiles.ts";

const PLAN_MS = 400; // between two looks at how much is to be drawn
const AXIS_PX = 22;
const LABEL_FONT = "12px system-ui, sans-serif";

export interface SceneHooks {
  /** The plan or whether the view follows has changed. */
  onState(plan: Plan, isFollowing: boolean): void;
  nameOf(lane: Lane): string;
  isCalm(): boolean;
}

export class Scene {
  readonly camera = new Camera();
  selected: Node | null = null;
  hovered: Node | null = null;
  isPaused = false;
  private plan: Plan = ALL;
  private readonly tiles: Tiles;
  private readonly meter = new RoundMeter();
  private readonly context: CanvasRenderingContext2D;
  private isStale = true; // the tiles are of another scale, theme or set of lanes
  private isDirty = true;
  private plannedAt = 0;
  private lastFrame = 0;
  private frame = 0;
  private head = 0; // that the view follows; stands still while paused
  private toldFollowing = true;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly model: DagModel,
    private palette: Palette,
    private readonly hooks: SceneHooks,
  ) {
    const context = canvas.getContext("2d", { alpha: false });
    if (context === null) throw new Error("this browser has no 2D canvas");
    this.context = context;
    this.tiles = new Tiles(model, () => this.plan, palette);
    this.head = model.head;
  }

  start(): void {
    this.frame = requestAnimationFrame((now) => this.tick(now));
  }

  stop(): void {
    cancelAnimationFrame(this.frame);
  }

  setPalette(palette: Palette): void {
    this.palette = palette;
    this.isStale = true;
  }

  resize(width: number, height: number): void {
    const ratio = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.camera.size = { width, height, gutter: width < 560 ? 80 : 92, axis: AXIS_PX };
    this.isStale = true;
  }

  /** The model has taken an event. */
  take(changes: Changes, nowMs: number): void {
    if (changes.isReset) {
      this.selected = this.hovered = null;
      this.meter.clear();
      this.camera.isFollowing = true;
      this.camera.right = this.model.head;
      this.isStale = true;
    }
    this.meter.take(nowMs, this.model.head);
    if (!this.isPaused) this.head = this.model.head;
    if (changes.hasNewLane) this.isStale = true;
    if (!this.isStale) this.tiles.add(changes.added, changes.committed);
    this.isDirty = true;
  }

  pause(isPaused: boolean): void {
    this.isPaused = isPaused;
    if (!isPaused) this.head = this.model.head;
    this.isDirty = true;
  }

  follow(): void {
    this.pause(false);
    this.camera.isFollowing = true;
    this.isDirty = true;
  }

  zoom(factor: number, x = this.camera.size.width / 2): void {
    this.camera.zoom(factor, x);
    this.isStale = true;
  }

  pan(dx: number, dy: number): void {
    this.camera.pan(dx, dy, this.model.lanes.length, this.model.tail, this.model.head);
    this.isDirty = true;
  }

  select(node: Node | null, isShown: boolean): void {
    this.selected = node;
    if (node !== null && isShown) {
      this.camera.show(node.x);
      const y = this.camera.toY(this.model.lanes.indexOf(node.lane));
      if (y < 0 || y > this.camera.plotHeight) this.camera.scrollTo(this.camera.top + y - this.camera.plotHeight / 2, this.model.lanes.length);
    }
    this.isDirty = true;
  }

  hover(node: Node | null): void {
    if (this.hovered !== node) this.isDirty = true;
    this.hovered = node;
  }

  private tick(now: number): void {
    this.frame = requestAnimationFrame((next) => this.tick(next));
    const elapsedMs = Math.min(100, now - this.lastFrame);
    this.lastFrame = now;
    if (!this.isPaused && this.camera.step(this.head, elapsedMs, this.hooks.isCalm())) this.isDirty = true;
    if (now - this.plannedAt > PLAN_MS) this.look(now);
    if (this.isStale) this.rebuild();
    if (this.isDirty) this.draw();
    this.isDirty = false;
    if (this.toldFollowing !== this.camera.isFollowing) this.tellState();
  }

  /** Choose the scale, and what is left out at it. */
  private look(now: number): void {
    this.plannedAt = now;
    if (this.camera.isFollowing && !this.isPaused && this.camera.fitRate(this.meter.perSecond())) this.isStale = true;
    const vertices = new Map<string, number>();
    let edges = 0;
    for (const node of this.model.between(Math.floor(this.camera.left), Math.ceil(this.camera.right))) {
      vertices.set(node.lane.key, (vertices.get(node.lane.key) ?? 0) + 1);
      edges += node.parents.length;
    }
    const plan = planFor({ vertices, edges }, this.plan);
    if (samePlan(plan, this.plan)) return;
    this.plan = plan;
    this.isStale = true;
    this.tellState();
  }

  private tellState(): void {
    this.toldFollowing = this.camera.isFollowing;
    this.hooks.onState(this.plan, this.camera.isFollowing);
  }

  private rebuild(): void {
    this.camera.fitLanes(this.model.lanes.length);
    this.tiles.reset(this.camera, this.palette);
    this.isStale = false;
    this.isDirty = true;
  }

  private draw(): void {
    const { context, camera, palette } = this;
    const ratio = this.canvas.width / camera.size.width;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = palette.ground;
    context.fillRect(0, 0, camera.size.width, camera.size.height);
    const places = placesOf(this.model.lanes);
    context.save();
    context.beginPath();
    context.rect(camera.size.gutter, 0, camera.plotWidth, camera.plotHeight);
    context.clip();
    this.drawBands();
    this.tiles.draw(context, camera, () => {
      this.drawChain(places);
      if (this.selected !== null) this.drawKin(this.selected, places);
    });
    for (const node of [this.hovered, this.selected]) if (node !== null) this.drawRing(node, places);
    context.restore();
    this.drawLabels();
    this.drawAxis();
  }

  private drawBands(): void {
    const { context, camera } = this;
    context.fillStyle = this.palette.band;
    for (let lane = 0; lane < this.model.lanes.length; lane += 2) {
      context.fillRect(camera.size.gutter, camera.toY(lane) - camera.lanePx / 2, camera.plotWidth, camera.lanePx);
    }
  }

  /** The main chain, leader to leader. */
  private drawChain(places: ReadonlyMap<Lane, number>): void {
    const { context, camera } = this;
    context.beginPath();
    let isDrawing = false;
    for (let at = this.model.chain.length - 1; at >= 0; at--) {
      const node = this.model.chain[at];
      if (node === undefined) break;
      const x = camera.toX(node.x);
      const y = camera.toY(places.get(node.lane) ?? 0);
      if (isDrawing) context.lineTo(x, y);
      else context.moveTo(x, y);
      isDrawing = true;
      if (x < 0) break;
    }
    context.strokeStyle = this.palette.cherry;
    context.lineWidth = Math.min(3, Math.max(1.5, camera.roundPx * 0.12));
    context.lineJoin = "round";
    context.stroke();
  }

  /** Edges of the chosen vertex, to its parents. */
  private drawKin(node: Node, places: ReadonlyMap<Lane, number>): void {
    const { context, camera } = this;
    const [x, y] = [camera.toX(node.x), camera.toY(places.get(node.lane) ?? 0)];
    context.beginPath();
    for (const parent of node.parents) {
      context.moveTo(x, y);
      context.lineTo(camera.toX(parent.x), camera.toY(places.get(parent.lane) ?? 0));
    }
    context.strokeStyle = this.palette.focus;
    context.lineWidth = 1.6;
    context.stroke();
  }

  private drawRing(node: Node, places: ReadonlyMap<Lane, number>): void {
    const { context, camera } = this;
    context.beginPath();
    const radius = dotRadius(camera.roundPx, camera.lanePx) * 1.9 + 3;
    context.arc(camera.toX(node.x), camera.toY(places.get(node.lane) ?? 0), radius, 0, 2 * Math.PI);
    context.strokeStyle = this.palette.focus;
    context.lineWidth = node === this.selected ? 2.4 : 1.4;
    context.stroke();
  }

  private drawLabels(): void {
    const { context, camera, palette } = this;
    context.fillStyle = palette.ground;
    context.fillRect(0, 0, camera.size.gutter, camera.size.height);
    context.font = LABEL_FONT;
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const [at, lane] of this.model.lanes.entries()) {
      const y = camera.toY(at);
      if (y < -10 || y > camera.plotHeight - 4) continue;
      context.fillStyle = lane.kind === "validator" ? palette.strong : palette.text;
      context.fillText(this.hooks.nameOf(lane), 12, y, camera.size.gutter - 16);
    }
  }

  private drawAxis(): void {
    const { context, camera, palette } = this;
    context.fillStyle = palette.ground;
    context.fillRect(0, camera.plotHeight, camera.size.width, camera.size.axis);
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((one) => one * camera.roundPx >= 72) ?? 1000;
    context.font = LABEL_FONT;
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    const last = Math.min(camera.right, this.model.head);
    for (let round = Math.ceil(Math.max(0, camera.left) / step) * step; round <= last; round += step) {
      const x = camera.toX(round);
      if (x < camera.size.gutter + 16 || x > camera.size.width - 16) continue;
      context.fillStyle = palette.line;
      context.fillRect(x - 0.5, camera.plotHeight, 1, 4);
      context.fillStyle = palette.text;
      context.fillText(round.toString(), x, camera.size.height - 5);
    }
    context.textAlign = "left";
    context.fillStyle = palette.text;
    context.fillText("round", 12, camera.size.height - 5);
  }
}
