"use strict";
/* The samples of the store, a row each, as columns of numbers: 100,000 of them are read through in milliseconds. */

const LEVELS = 16;
const LABEL = 0;
const PAIRINGS = ["label", "joint"];
const DOUBTFUL_BELOW = 8; // levels: a confidence under one half

const samples = {
  store: null,
  count: 0, // of the rows that were read so far

  begin(store) {
    const rows = store.rows;
    Object.assign(samples, {
      store,
      key: new Array(rows),
      digest: new Array(rows),
      source: new Uint32Array(rows),
      group: new Uint32Array(rows),
      offset: new Int16Array(rows),
      pairing: new Uint8Array(rows),
      origin: new Uint8Array(rows),
      drawn: new Uint8Array(rows),
      score: new Float32Array(rows),
      doubtful: new Float32Array(rows),
      fresh: new Float32Array(rows), // NaN where it is not known, as below
      miou: new Float32Array(rows),
      wrong: new Float32Array(rows),
      differs: new Float32Array(rows),
      levels: new Uint16Array(rows * LEVELS), // pixels per thousand
      firstClass: new Uint32Array(rows + 1),
      classes: [],
      classScores: [],
      names: new Array(rows),
    });
  },

  /** Enter a chunk; chunks come in their order. */
  add(chunk) {
    const start = chunk.start;
    for (const name of ["source", "group", "offset", "pairing", "origin", "drawn", "score", "doubtful"]) {
      samples[name].set(chunk[name], start);
    }
    for (const name of ["fresh", "miou", "wrong", "differs"]) {
      const column = chunk[name];
      for (let i = 0; i < column.length; i++) samples[name][start + i] = column[i] === null ? NaN : column[i];
    }
    for (let i = 0; i < chunk.key.length; i++) {
      const row = start + i;
      samples.key[row] = chunk.key[i];
      samples.digest[row] = chunk.digest[i];
      samples.names[row] = chunk.key[i].toLowerCase();
      samples.levels.set(chunk.levels[i], row * LEVELS);
      for (const each of chunk.classes[i]) samples.classes.push(each);
      for (const each of chunk.class_score[i]) samples.classScores.push(each);
      samples.firstClass[row + 1] = samples.classes.length;
    }
    samples.count = start + chunk.key.length;
  },

  sourceKey(row) {
    return samples.store.sources[samples.source[row]];
  },

  groupName(row) {
    return samples.store.groups[samples.group[row]];
  },

  /** Pixels per thousand whose confidence is below a level. */
  below(row, level) {
    let sum = 0;
    for (let i = row * LEVELS; i < row * LEVELS + level; i++) sum += samples.levels[i];
    return sum;
  },

  /** The mean confidence of a class; NaN where it does not occur. */
  classScore(row, index) {
    for (let i = samples.firstClass[row]; i < samples.firstClass[row + 1]; i++) {
      if (samples.classes[i] === index) return samples.classScores[i];
    }
    return NaN;
  },

  /** What rows are ranked by: the score, or that of a class, NaN where it does not occur. */
  shownScores(classIndex) {
    if (classIndex < 0) return samples.score;
    if (samples.shown?.classIndex !== classIndex || samples.shown.count !== samples.count) {
      const scores = new Float32Array(samples.count);
      for (let row = 0; row < samples.count; row++) scores[row] = samples.classScore(row, classIndex);
      samples.shown = { classIndex, count: samples.count, scores };
    }
    return samples.shown.scores;
  },

  shownScore(row, classIndex) {
    return samples.shownScores(classIndex)[row];
  },

  /** What a decision is about. */
  identity(sourceKey, offset, pairing) {
    return `${offset} ${pairing} ${sourceKey}`;
  },

  /** The row by identity. */
  byIdentity() {
    const found = new Map();
    for (let row = 0; row < samples.count; row++) {
      found.set(samples.identity(samples.sourceKey(row), samples.offset[row], PAIRINGS[samples.pairing[row]]), row);
    }
    return found;
  },

  /** The rows of the clip of a row, in the order of time. */
  clip(row) {
    const rows = [];
    for (let each = 0; each < samples.count; each++) if (samples.source[each] === samples.source[row]) rows.push(each);
    const { offset, pairing } = samples;
    return rows.sort((one, other) => offset[one] - offset[other] || pairing[one] - pairing[other]);
  },

  /** A number for each row that rises in the order of sequences, annotated frames and time. */
  placeInTime() {
    if (samples.places && samples.places.length === samples.count) return samples.places;
    const { groups, sources } = samples.store;
    const groupOf = new Array(sources.length).fill("");
    for (let row = 0; row < samples.count; row++) groupOf[samples.source[row]] = groups[samples.group[row]];
    const order = sources.map((key, index) => ({ group: groupOf[index], key, index }));
    const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
    order.sort((one, other) => compare(one.group, other.group) || compare(one.key, other.key));
    const rank = new Uint32Array(sources.length);
    order.forEach((each, place) => (rank[each.index] = place));
    samples.places = new Uint32Array(samples.count);
    for (let row = 0; row < samples.count; row++) {
      samples.places[row] = rank[samples.source[row]] * 2048 + samples.offset[row] + 1024;
    }
    return samples.places;
  },
};
