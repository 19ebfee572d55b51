"use strict";
/* The store as a whole: confidence by offset and class, pixels per class, and what truth says. */

const charts = {
  /** onPick: called with fields of the filter. */
  begin(store, onPick) {
    const { by_offset: byOffset, by_class: byClass, pixels } = store.histograms;
    const offsets = Object.keys(byOffset).map(Number).sort((one, other) => one - other);
    const classes = Object.keys(byClass).map(Number).sort((one, other) => doubt(byClass[other]) - doubt(byClass[one]));
    words.byId("confidence-key").append(...maps.ramp());
    words.byId("by-offset").append(...offsets.map((offset) => columnOf(offset, byOffset[offset], onPick)));
    words.byId("by-class").append(
      ...classes.map((index) => classRow(store.classes[index], index, byClass[index], onPick)),
    );
    words.byId("pixels").append(...pixelRows(store, pixels));
    const table = words.byId("truth");
    table.closest("section").hidden = !store.truth_table;
    if (store.truth_table) fillTable(table, store.truth_table);
  },
};

function doubt(histogram) {
  return histogram.slice(0, DOUBTFUL_BELOW).reduce((sum, each) => sum + each, 0);
}

/** A bar of sixteen parts, in the colours of confidence; `side` is "width" or "height". */
function stackedBar(histogram, side) {
  const bar = words.element("span", { className: `stack ${side}`, "aria-hidden": "true" });
  histogram.forEach((share, level) => {
    if (share <= 0) return;
    const part = words.element("span", { title: `${(level / SURE).toFixed(2)}: ${words.percent(share)}` });
    part.style.background = maps.confidence[level];
    part.style[side] = `${100 * share}%`;
    bar.append(part);
  });
  return bar;
}

function columnOf(offset, histogram, onPick) {
  const told = `Offset ${words.offset(offset)}: ${words.percent(doubt(histogram))} doubtful. List these samples`;
  const button = words.element(
    "button",
    { type: "button", className: "column", "aria-label": told, title: told },
    words.element("span", { className: "quiet", textContent: (100 * doubt(histogram)).toFixed(1) }),
    stackedBar(histogram, "height"),
    words.element("span", { textContent: words.offset(offset) }),
  );
  button.addEventListener("click", () => onPick({ from: offset, to: offset }));
  return words.element("li", {}, button);
}

function classRow(known, index, histogram, onPick) {
  const button = words.element("button", { type: "button", className: "plain" }, words.name(known.name));
  button.title = "List the samples in which it occurs, those first where it is doubtful";
  button.addEventListener("click", () => onPick({ class: index, order: "score" }));
  return words.element(
    "tr",
    {},
    words.element("th", { scope: "row" }, words.swatch(known.color), button),
    words.element("td", { className: "bars" }, stackedBar(histogram, "width")),
    words.element("td", { className: "number", textContent: words.percent(doubt(histogram)) }),
  );
}

function* pixelRows(store, { annotated, propagated }) {
  const greatest = Math.max(...annotated, ...propagated) || 1;
  const order = [...annotated.keys()].sort((one, other) => annotated[other] - annotated[one]);
  for (const index of order) {
    if (!annotated[index] && !propagated[index]) continue;
    const bar = words.element("div", { className: "bar" }, words.element("span"), words.element("i"));
    bar.firstElementChild.style.width = `${(100 * propagated[index]) / greatest}%`;
    bar.lastElementChild.style.left = `${(100 * annotated[index]) / greatest}%`;
    const { name, color } = store.classes[index];
    yield words.element(
      "tr",
      {},
      words.element("th", { scope: "row" }, words.swatch(color), words.name(name)),
      words.element("td", { className: "bars" }, bar),
      words.element("td", { className: "number", textContent: words.percent(annotated[index], 2) }),
      words.element("td", { className: "number", textContent: words.percent(propagated[index], 2) }),
    );
  }
}

/** A fraction as percents, or a number of samples. */
function scored(cell, column) {
  if (cell === null) return "–";
  return column === "samples" ? words.number(cell) : (100 * cell).toFixed(1);
}

function fillTable(table, { columns, rows }) {
  const head = columns.map((name) => words.element("th", { scope: "col", textContent: name }));
  table.append(words.element("thead", {}, words.element("tr", {}, ...head)));
  const body = rows.map(([first, ...cells]) =>
    words.element(
      "tr",
      {},
      words.element("th", { scope: "row" }, words.name(String(first))),
      ...cells.map((cell, i) => words.element("td", { className: "number", textContent: scored(cell, columns[i + 1]) })),
    ),
  );
  table.append(words.element("tbody", {}, ...body));
}
