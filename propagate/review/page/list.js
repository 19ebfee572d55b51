"use strict";
/* The list: only the rows in sight are elements; the others are room that is scrolled through. */

const ROW_HEIGHT = 52; // CSS pixels, as in report.css
const MARKS = { "": "", accept: "✓", reject: "✕" };
const BEYOND = 6; // rows made before they are in sight

class List {
  /** told: row -> what its line says; onPick: called with the row looked at; onClick: when that was chosen in the list. */
  constructor(box, told, onPick, onClick) {
    this.box = box;
    this.room = box.firstElementChild;
    this.told = told;
    this.onPick = onPick;
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

  /** List other rows and look at the first, or at the one in the place of the one looked at where `stays`. */
  show(rows, stays = false) {
    const position = stays ? Math.min(Math.max(this.position, 0), rows.length - 1) : 0;
    this.rows = rows;
    this.room.style.height = `${rows.length * ROW_HEIGHT}px`;
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
    const top = this.position * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) this.box.scrollTop = top + ROW_HEIGHT - clientHeight;
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_HEIGHT) - BEYOND);
    const inSight = Math.ceil(this.box.clientHeight / ROW_HEIGHT) + 2 * BEYOND;
    const last = Math.min(this.rows.length, first + inSight);
    while (this.lines.length < last - first) this.lines.push(newLine(this.room));
    this.lines.forEach((line, i) => {
      const position = first + i;
      line.element.hidden = position >= last;
      if (position < last) this.fill(line, position);
    });
    const current = this.lines.find((line) => !line.element.hidden && line.position === this.position);
    if (current) this.box.setAttribute("aria-activedescendant", current.element.id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  fill(line, position) {
    const told = this.told(this.rows[position]);
    const { element } = line;
    line.position = position;
    element.dataset.position = position;
    element.style.transform = `translateY(${position * ROW_HEIGHT}px)`;
    element.setAttribute("aria-posinset", position + 1);
    element.setAttribute("aria-setsize", this.rows.length);
    element.setAttribute("aria-selected", position === this.position);
    element.setAttribute("aria-label", told.label);
    element.dataset.decision = told.decision;
    line.name.textContent = told.name;
    line.mark.textContent = MARKS[told.decision];
    line.score.textContent = told.score;
    line.bar.style.width = `${100 * told.doubt}%`;
    line.about.textContent = told.about;
  }

  move(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_HEIGHT) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.step(steps[event.key]);
  }
}

function newLine(room) {
  const part = (className) => words.element("span", { className });
  const line = { position: -1, mark: part("mark"), score: part("score"), about: part("about quiet"), bar: part("") };
  line.name = words.name("", "key");
  const bar = words.element("span", { className: "bar" }, line.bar);
  line.element = words.element(
    "div",
    { className: "row", id: `row-${room.childElementCount}`, role: "option" },
    ...[line.mark, line.name, line.score, bar, line.about],
  );
  room.append(line.element);
  return line;
}
