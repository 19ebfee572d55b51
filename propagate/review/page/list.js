"use strict";
/* The list: only the rows in sight are elements; the others are room that is scrolled through. */

const HEIGHTS = { plain: 52, pictured: 84 }; // of a row in CSS pixels, as in report.css
const STILL_AFTER = 120; // milliseconds without scrolling, before small pictures are drawn
const MARKS = { "": "", accept: "✓", reject: "✕" };
const BEYOND = 6; // rows made before they are in sight

class List {
  /**
   * told: row -> what its line says. drawSmall: draws a row's picture on a canvas.
   * onPick: called with the row looked at; onClick: called when that was chosen in the list.
   */
  constructor(box, { told, drawSmall, onPick, onClick }) {
    this.box = box;
    this.room = box.firstElementChild;
    Object.assign(this, { told, drawSmall, onPick, height: HEIGHTS.plain });
    this.rows = new Uint32Array(0);
    this.position = -1;
    this.lines = [];
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    box.addEventListener("click", (event) => {
      const line = event.target.closest("[data-position]");
      if (!line) return;
      this.pick(Number(line.dataset.position));
      onClick();
    });
    box.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  get row() {
    return this.position < 0 ? -1 : this.rows[this.position];
  }

  get isPictured() {
    return this.height === HEIGHTS.pictured;
  }

  /** Show small pictures in the rows, or none. */
  picture(isPictured) {
    this.height = isPictured ? HEIGHTS.pictured : HEIGHTS.plain;
    this.box.classList.toggle("pictured", isPictured);
    this.room.style.height = `${this.rows.length * this.height}px`;
    if (this.position >= 0) this.reveal();
    this.draw();
  }

  /** List other rows and look at the first, or at the one in the place of the one looked at where `stays`. */
  show(rows, stays = false) {
    const position = stays ? Math.min(Math.max(this.position, 0), rows.length - 1) : 0;
    this.rows = rows;
    this.room.style.height = `${rows.length * this.height}px`;
    if (rows.length) {
      this.pick(position);
      return;
    }
    this.position = -1;
    this.draw();
    this.onPick(-1);
  }

  pick(position) {
    if (position < 0 || position >= this.rows.length) return;
    this.position = position;
    this.reveal();
    this.draw();
    this.onPick(this.row);
  }

  /** Go to the next row, or by any number of rows; stays where there is none. */
  step(by) {
    this.pick(Math.min(Math.max(this.position + by, 0), this.rows.length - 1));
  }

  reveal() {
    const top = this.position * this.height;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + this.height > scrollTop + clientHeight) this.box.scrollTop = top + this.height - clientHeight;
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - BEYOND);
    const inSight = Math.ceil(this.box.clientHeight / this.height) + 2 * BEYOND;
    const last = Math.min(this.rows.length, first + inSight);
    while (this.lines.length < last - first) this.lines.push(newLine(this.room));
    this.lines.forEach((line, i) => {
      const position = first + i;
      line.element.hidden = position >= last;
      if (position < last) this.fill(line, position);
    });
    clearTimeout(this.stills);
    if (this.isPictured) this.stills = setTimeout(() => this.drawPictures(), STILL_AFTER);
    const current = this.lines.find((line) => !line.element.hidden && line.position === this.position);
    if (current) this.box.setAttribute("aria-activedescendant", current.element.id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  drawPictures() {
    for (const line of this.lines) {
      const row = this.rows[line.position];
      if (line.element.hidden || line.drawn === row) continue;
      line.drawn = row;
      this.drawSmall(line.small, row, () => line.drawn === row);
    }
  }

  fill(line, position) {
    const row = this.rows[position];
    const told = this.told(row);
    const { element } = line;
    if (line.drawn !== row && line.drawn >= 0) {
      line.drawn = -1;
      line.small.width = 0; // empties it
    }
    line.position = position;
    element.id = `row-${position}`; // another for each sample, so that screen readers tell of a change
    element.dataset.position = position;
    element.style.transform = `translateY(${position * this.height}px)`;
    element.setAttribute("aria-posinset", position + 1);
    element.setAttribute("aria-setsize", this.rows.length);
    element.setAttribute("aria-selected", position === this.position);
    element.setAttribute("aria-label", told.label);
    element.dataset.decision = told.decision;
    line.name.textContent = told.name;
    line.mark.textContent = MARKS[told.decision];
    line.score.textContent = told.score;
    line.bar.style.width = `${100 * told.bad}%`;
    line.about.textContent = told.about;
  }

  move(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.step(steps[event.key]);
  }
}

function newLine(room) {
  const part = (className) => words.element("span", { className });
  const small = words.element("canvas", { className: "small", "aria-hidden": "true" });
  const line = { position: -1, drawn: -1, small, mark: part("mark"), score: part("score"), about: part("about quiet"), bar: part("") };
  line.name = words.name("", "key");
  const bar = words.element("span", { className: "bar" }, line.bar);
  line.element = words.element(
    "div",
    { className: "row", role: "option" },
    ...[line.mark, small, line.name, line.score, bar, line.about],
  );
  room.append(line.element);
  return line;
}
