"use strict";
/* Which samples are listed, and in which order. */

const ROWS = 2 ** 21; // a key and a row fit into one number, which sorts fast
const LAST = 2 ** 31 - 1;

/*
 * key: whole numbers from 0 to LAST, or NaN for what is not known and comes last; `down`: the greatest are the worst.
 * bad: how bad a row is, as the length of its bar; where it is not given, as by the score.
 */
const ORDERS = {
  score: { name: "score", key: (row, filter) => Math.round(1e4 * samples.shownScore(row, filter.class)) },
  share: {
    name: "doubtful pixels",
    down: true,
    key: (row, filter) => samples.below(row, filter.level),
    bad: (row, filter) => samples.below(row, filter.level),
  },
  miou: {
    name: "mIoU",
    has: "truth",
    key: (row) => Math.round(1e4 * samples.miou[row]),
    bad: (row) => 1 - samples.miou[row],
  },
  wrong: {
    name: "wrong pixels",
    has: "truth",
    down: true,
    key: (row) => Math.round(1e4 * samples.wrong[row]),
    bad: (row) => samples.wrong[row],
  },
  differs: {
    name: "disagreement",
    has: "against",
    down: true,
    key: (row) => Math.round(1e4 * samples.differs[row]),
    bad: (row) => samples.differs[row],
  },
  offset: {
    name: "offset",
    down: true,
    ways: ["farthest first", "nearest first"],
    key: (row) => Math.abs(samples.offset[row]),
  },
  time: { name: "sequence", ways: ["earliest first", "latest first"], key: (row) => samples.places[row] },
};

const NO_FILTER = {
  text: "",
  class: -1,
  group: "",
  from: -Infinity,
  to: Infinity,
  origin: -1,
  decision: "",
  score: Infinity,
  share: 0,
  level: DOUBTFUL_BELOW,
};

/** How bad a row is in an order, from 0 upwards; 0 where that is not known. */
function badness(row, filter, order) {
  const { bad } = ORDERS[order.by];
  return (bad ? bad(row, filter) : 1 - samples.shownScore(row, filter.class)) || 0;
}

/** Row numbers, Uint32Array; order: {by: a name in ORDERS, reversed}; decided: row -> "", "accept" or "reject". */
function chooseRows(filter, order, decided) {
  samples.placeInTime();
  const { key, down } = ORDERS[order.by];
  const falls = Boolean(down) !== order.reversed;
  const passes = rowFilter(filter, decided);
  const packed = new Float64Array(samples.count);
  let found = 0;
  for (let row = 0; row < samples.count; row++) {
    if (!passes(row)) continue;
    const value = key(row, filter);
    const place = Number.isNaN(value) ? LAST : falls ? LAST - 1 - value : value;
    packed[found++] = place * ROWS + row;
  }
  const rows = new Uint32Array(found);
  packed.subarray(0, found).sort().forEach((each, i) => (rows[i] = each % ROWS));
  return rows;
}

/** A function that says of a row whether it is listed; the cheapest tests come first. */
function rowFilter(filter, decided) {
  const text = filter.text.toLowerCase();
  const groups = matching(samples.store.groups, filter.group);
  const sources = text ? matching(samples.store.sources, text) : null;
  const wanted = filter.decision === "open" ? "" : filter.decision;
  const { offset, origin, names, group, source } = samples;
  const scores = samples.shownScores(filter.class);
  return (row) =>
    offset[row] >= filter.from &&
    offset[row] <= filter.to &&
    (filter.origin < 0 || origin[row] === filter.origin) &&
    (!groups || groups[group[row]] === 1) &&
    (!filter.decision || decided(row) === wanted) &&
    (!text || names[row].includes(text) || sources[source[row]] === 1) &&
    (filter.class < 0 || !Number.isNaN(scores[row])) &&
    (filter.score === Infinity || scores[row] <= filter.score) &&
    (filter.share <= 0 || samples.below(row, filter.level) >= 10 * filter.share);
}

/** 1 for each of the names that hold a text, in any case; null where all do. */
function matching(names, text) {
  if (!text) return null;
  const wanted = text.toLowerCase();
  return Uint8Array.from(names, (name) => (name.toLowerCase().includes(wanted) ? 1 : 0));
}
