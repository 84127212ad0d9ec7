/** The canvas with its controls: pointer, wheel, touch and keys. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Node } from "../dag/model.ts";
import { readPalette } from "../dag/palette.ts";
import { nodeAt, walk, type Step } from "../dag/pick.ts";
import { Gestures } from "../dag/gestures.ts";
import { Scene } from "../dag/scene.ts";
import { planWords } from "../dag/thin.ts";
import { plural } from "../lib/format.ts";
import { onTheme } from "../lib/theme.ts";
import type { Session } from "../session.ts";

const ZOOM = 1.3;
const PAN_PX = 80;

const STEPS: Readonly<Record<string, Step>> = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };

interface Props {
  readonly session: Session;
  readonly selected: Node | null;
  readonly onSelect: (node: Node | null) => void;
}

export function DagView({ session, selected, onSelect }: Props): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const scene = useRef<Scene | null>(null);
  const [thinned, setThinned] = useState("");
  const [isFollowing, setFollowing] = useState(true);
  const [isPaused, setPaused] = useState(false);
  const [isEmpty, setEmpty] = useState(session.dag.nodes.size === 0);

  useEffect(() => {
    const element = canvas.current;
    if (element === null) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)");
    const made = new Scene(element, session.dag, readPalette(element), {
      onState: (plan, follows) => {
        setThinned(planWords(plan));
        setFollowing(follows);
      },
      nameOf: (lane) => session.authorName(lane.author, lane.issuer),
      isCalm: () => calm.matches,
    });
    scene.current = made;
    made.camera.right = session.dag.head;
    const sizes = new ResizeObserver(() => made.resize(element.clientWidth, element.clientHeight));
    sizes.observe(element);
    const gestures = new Gestures(element, {
      pan: (dx, dy) => made.pan(dx, dy),
      zoom: (factor, x) => made.zoom(factor, x),
      hover: (x, y) => made.hover(nodeAt(session.dag, made.camera, x, y)),
      tap: (x, y) => onSelect(nodeAt(session.dag, made.camera, x, y)),
    });
    const ends = [
      session.onDag((changes) => {
        made.take(changes, performance.now());
        setEmpty(session.dag.nodes.size === 0);
        if (changes.isReset) onSelect(null);
      }),
      onTheme(() => made.setPalette(readPalette(element))),
      session.info.watch(() => made.setPalette(readPalette(element))),
    ];
    made.start();
    return () => {
      made.stop();
      sizes.disconnect();
      gestures.end();
      for (const end of ends) end();
    };
  }, [session]);

  useEffect(() => scene.current?.select(selected, true), [selected]);

  const pause = (value: boolean): void => {
    scene.current?.pause(value);
    setPaused(value);
  };
  const follow = (): void => {
    scene.current?.follow();
    setPaused(false);
    setFollowing(true);
  };
  const onKey = (event: KeyboardEvent): void => {
    const made = scene.current;
    if (made === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key];
    if (step !== undefined && event.shiftKey) {
      made.pan(step === "left" ? PAN_PX : step === "right" ? -PAN_PX : 0, step === "up" ? PAN_PX : step === "down" ? -PAN_PX : 0);
    } else if (step !== undefined) onSelect(walk(session.dag, selected, step));
    else if (event.key === "+" || event.key === "=") made.zoom(ZOOM);
    else if (event.key === "-") made.zoom(1 / ZOOM);
    else if (event.key === " ") pause(!isPaused);
    else if (event.key === "f" || event.key === "End") follow();
    else if (event.key === "Escape") onSelect(null);
    else return;
    event.preventDefault();
  };

  return (
    <section class="panel dag" aria-label="Live DAG">
      <div class="dag-tools" role="toolbar" aria-label="View of the DAG">
        <button type="button" aria-pressed={isPaused} onClick={() => pause(!isPaused)}>
          {isPaused ? "Go on" : "Pause"}
        </button>
        <button type="button" aria-pressed={isFollowing && !isPaused} onClick={follow}>
          Follow
        </button>
        <button type="button" onClick={() => scene.current?.zoom(1 / ZOOM)} aria-label="Zoom out">
          {"\u2212"}
        </button>
        <button type="button" onClick={() => scene.current?.zoom(ZOOM)} aria-label="Zoom in">
          +
        </button>
        <Legend />
        <span class="thinned" role="status">
          {thinned}
        </span>
      </div>
      <div class="canvas-box">
        <canvas
          ref={canvas}
          tabIndex={0}
          role="application"
          aria-roledescription="DAG view"
          aria-label={`The DAG: a lane for each author, rounds to the right. ${chosenWords(session, selected)}`}
          aria-describedby="dag-keys"
          onKeyDown={onKey}
        />
        {isEmpty && <p class="canvas-note">{"Waiting for the first vertices\u2026"}</p>}
      </div>
      <p id="dag-keys" class="dag-keys">
        Arrow keys choose a vertex, with Shift they move the view. Plus and minus zoom, Space pauses, F follows, Escape lets go. A
        drag moves the view; the wheel with Ctrl, or two fingers, zoom it.
      </p>
      <p class="unseen" aria-live="polite">
        {selected === null ? "" : chosenWords(session, selected)}
      </p>
    </section>
  );
}

function chosenWords(session: Session, node: Node | null): string {
  if (node === null) return "No vertex is chosen.";
  const author = session.authorName(node.lane.author, node.lane.issuer);
  const state = node.isLeader ? "leader of" : "ordered by";
  const order = node.commitIndex === null ? "not ordered yet" : `${state} commit ${node.commitIndex}`;
  return `${author}, round ${node.round}, ${plural(node.transactions, "transaction")}, ${plural(node.parents.length, "parent")} in view, ${order}.`;
}

function Legend(): JSX.Element {
  return (
    <ul class="legend" aria-label="What the marks mean">
      <li class="leader">leader, main chain</li>
      <li class="settled">ordered</li>
      <li class="pending">not yet</li>
      <li class="operator">operator</li>
    </ul>
  );
}
