/** Where the view stands: which rounds and lanes are on the canvas, and how that follows the head. */

export const ROUND_PX_MIN = 3;
export const ROUND_PX_MAX = 96;
const ROUND_PX_FOLLOW_MIN = 8;
const ROUND_PX_FOLLOW_MAX = 44;
const SECONDS_IN_VIEW = 9;
const LANE_PX_MIN = 18;
const LANE_PX_MAX = 96;
const SETTLE_MS = 450;
const AHEAD = 1.6; // rounds of room before the head

export interface Size {
  readonly width: number;
  readonly height: number;
  /** Of the lanes' names. */
  readonly gutter: number;
  /** Of the rounds' numbers. */
  readonly axis: number;
}

export class Camera {
  size: Size = { width: 1, height: 1, gutter: 0, axis: 0 };
  roundPx = 24;
  lanePx = LANE_PX_MIN;
  /** The round at the right edge, and how many pixels of lanes are above the top. */
  right = 0;
  top = 0;
  isFollowing = true;
  isZoomed = false;

  get plotWidth(): number {
    return Math.max(1, this.size.width - this.size.gutter);
  }

  get plotHeight(): number {
    return Math.max(1, this.size.height - this.size.axis);
  }

  /** Rounds between the two edges. */
  get span(): number {
    return this.plotWidth / this.roundPx;
  }

  get left(): number {
    return this.right - this.span;
  }

  toX(round: number): number {
    return this.size.width - (this.right - round) * this.roundPx;
  }

  toRound(x: number): number {
    return this.right - (this.size.width - x) / this.roundPx;
  }

  toY(lane: number): number {
    return (lane + 0.5) * this.lanePx - this.top;
  }

  toLane(y: number): number {
    return (y + this.top) / this.lanePx - 0.5;
  }

  /** Fit the lanes into the height as far as they stay apart. True if their height has changed. */
  fitLanes(lanes: number): boolean {
    const before = this.lanePx;
    this.lanePx = Math.min(LANE_PX_MAX, Math.max(LANE_PX_MIN, Math.floor(this.plotHeight / Math.max(1, lanes))));
    this.scrollTo(this.top, lanes);
    return before !== this.lanePx;
  }

  scrollTo(top: number, lanes: number): void {
    this.top = Math.min(Math.max(0, top), Math.max(0, lanes * this.lanePx - this.plotHeight));
  }

  /** A scale at which the eye can follow, unless the reader has chosen one. True if it has changed. */
  fitRate(roundsPerSecond: number): boolean {
    if (this.isZoomed || roundsPerSecond <= 0) return false;
    const wanted = this.plotWidth / (roundsPerSecond * SECONDS_IN_VIEW);
    const fitted = Math.min(ROUND_PX_FOLLOW_MAX, Math.max(ROUND_PX_FOLLOW_MIN, Math.round(wanted)));
    if (Math.abs(fitted - this.roundPx) <= this.roundPx * 0.3) return false; // it would tremble
    this.roundPx = fitted;
    return true;
  }

  /** Zoom around the pixel x, or around the head while following. */
  zoom(factor: number, x: number): void {
    const held = this.toRound(x);
    this.isZoomed = true;
    this.roundPx = Math.min(ROUND_PX_MAX, Math.max(ROUND_PX_MIN, this.roundPx * factor));
    if (!this.isFollowing) this.right = held + (this.size.width - x) / this.roundPx;
  }

  pan(dx: number, dy: number, lanes: number, tail: number, head: number): void {
    if (dx) this.isFollowing = false;
    this.right -= dx / this.roundPx;
    this.right = Math.min(Math.max(this.right, tail + Math.min(2, this.span)), head + this.span - 2);
    this.scrollTo(this.top - dy, lanes);
  }

  /** Bring a round into view. */
  show(round: number): void {
    if (round >= this.left + 1 && round <= this.right - 1) return;
    this.isFollowing = false;
    this.right = round + this.span / 2;
  }

  /** Move towards the head. isCalm: in jumps of a part of the view, for who wants no motion. True if it moved. */
  step(head: number, elapsedMs: number, isCalm: boolean): boolean {
    if (!this.isFollowing) return false;
    const wanted = head + AHEAD;
    const away = wanted - this.right;
    if (Math.abs(away) < 0.01) return false;
    const isFar = Math.abs(away) > this.span;
    if (isCalm) {
      const isInView = away <= 0 && away > -this.span / 2;
      return !isInView && this.jump(wanted + this.span / 4);
    }
    this.right = isFar ? wanted : this.right + away * (1 - Math.exp(-elapsedMs / SETTLE_MS));
    return true;
  }

  private jump(right: number): true {
    this.right = right;
    return true;
  }
}
