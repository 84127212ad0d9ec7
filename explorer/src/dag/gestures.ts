/** Pointer, wheel and touch on the canvas, as moves of the view. */

export interface GestureHooks {
  pan(dx: number, dy: number): void;
  zoom(factor: number, x: number): void;
  hover(x: number, y: number): void;
  tap(x: number, y: number): void;
}

const TAP_PX = 5;
const WHEEL = 0.0016;

export class Gestures {
  private readonly pointers = new Map<number, { x: number; y: number }>();
  private moved = 0;
  private readonly stop = new AbortController();

  constructor(
    private readonly element: HTMLElement,
    private readonly hooks: GestureHooks,
  ) {
    const { signal } = this.stop;
    element.addEventListener("pointerdown", (event) => this.down(event), { signal });
    element.addEventListener("pointermove", (event) => this.move(event), { signal });
    element.addEventListener("pointerup", (event) => this.up(event, true), { signal });
    element.addEventListener("pointercancel", (event) => this.up(event, false), { signal });
    element.addEventListener("pointerleave", () => this.hooks.hover(-1, -1), { signal });
    element.addEventListener("wheel", (event) => this.wheel(event), { signal, passive: false });
  }

  end(): void {
    this.stop.abort();
  }

  private down(event: PointerEvent): void {
    this.element.setPointerCapture(event.pointerId);
    if (this.pointers.size === 0) this.moved = 0;
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  }

  private move(event: PointerEvent): void {
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) {
      this.hooks.hover(event.offsetX, event.offsetY);
      return;
    }
    const [dx, dy] = [event.offsetX - before.x, event.offsetY - before.y];
    this.moved += Math.abs(dx) + Math.abs(dy);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other !== undefined) {
      const [was, is] = [Math.abs(before.x - other.x), Math.abs(event.offsetX - other.x)];
      if (was > 12 && is > 12) this.hooks.zoom(is / was, (event.offsetX + other.x) / 2);
    } else if (this.moved > TAP_PX) this.hooks.pan(dx, dy);
    this.pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  }

  private up(event: PointerEvent, isTap: boolean): void {
    const wasAlone = this.pointers.size === 1;
    if (this.pointers.delete(event.pointerId) && isTap && wasAlone && this.moved <= TAP_PX) {
      this.hooks.tap(event.offsetX, event.offsetY);
    }
  }

  /** Sideways moves; with a key held it zooms, so that the page can still be scrolled over the canvas. */
  private wheel(event: WheelEvent): void {
    if (event.ctrlKey || event.metaKey || event.shiftKey) {
      event.preventDefault();
      const delta = event.deltaY || event.deltaX;
      this.hooks.zoom(Math.exp(-delta * WHEEL), event.offsetX);
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      this.hooks.pan(-event.deltaX, 0);
    }
  }
}
