"use strict";
/* Views of one picture that zoom and move together: by wheel, drag, two fingers and keys. */

const GREATEST_ZOOM = 24;
const PIXELATED_FROM = 3; // pixels are seen as squares when they are this large

class Zoom {
  constructor() {
    this.stages = [];
    this.fingers = new Map();
    this.reset();
  }

  reset() {
    Object.assign(this, { scale: 1, x: 0, y: 0 }); // where the picture's corner lies, in sizes of a stage
    this.apply();
  }

  /** Let a stage, whose only child holds the layers, take part. */
  attach(stage) {
    this.stages.push(stage);
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.press(event));
    stage.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) {
      stage.addEventListener(name, (event) => this.fingers.delete(event.pointerId));
    }
    stage.addEventListener("dblclick", (event) => this.by(this.scale > 1 ? 1 / this.scale : 4, this.place(event)));
    stage.addEventListener("keydown", (event) => this.key(event));
  }

  apply() {
    const least = 1 - this.scale;
    this.x = Math.min(0, Math.max(least, this.x));
    this.y = Math.min(0, Math.max(least, this.y));
    for (const stage of this.stages) {
      const layers = stage.firstElementChild;
      layers.style.transform = `translate(${100 * this.x}%, ${100 * this.y}%) scale(${this.scale})`;
      layers.classList.toggle("pixelated", this.scale >= PIXELATED_FROM);
      stage.classList.toggle("zoomed", this.scale > 1);
    }
  }

  /** Zoom by a factor, keeping what lies at a place, in sizes of a stage; its middle unless said. */
  by(factor, [x, y] = [0.5, 0.5]) {
    const scale = Math.min(Math.max(this.scale * factor, 1), GREATEST_ZOOM);
    const by = scale / this.scale;
    Object.assign(this, { scale, x: x - (x - this.x) * by, y: y - (y - this.y) * by });
    this.apply();
  }

  move(x, y) {
    this.x += x;
    this.y += y;
    this.apply();
  }

  place(event) {
    const box = event.currentTarget.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  wheel(event) {
    const isMeant = event.ctrlKey || this.scale > 1 || event.currentTarget === document.activeElement;
    if (!isMeant || (event.deltaY > 0 && this.scale === 1)) return; // the page scrolls on
    event.preventDefault();
    this.by(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) / 300), this.place(event));
  }

  press(event) {
    if (event.button !== 0) return;
    this.fingers.set(event.pointerId, this.place(event));
    if (this.scale > 1 || this.fingers.size > 1) event.currentTarget.setPointerCapture(event.pointerId);
  }

  drag(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const now = this.place(event);
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.fingers.set(event.pointerId, now);
    if (other) {
      const distance = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1e-3;
      this.by(distance(now) / distance(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    } else if (this.scale > 1) {
      this.move(now[0] - before[0], now[1] - before[1]);
    }
  }

  key(event) {
    const way = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!way || this.scale === 1 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(0.1 * way[0], 0.1 * way[1]);
  }
}
