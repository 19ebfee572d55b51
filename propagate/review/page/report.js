"use strict";
/* The page: reads the store, and lets list, viewer, decisions and keys work together. */

const KEYS = [
  ["a", "Accept the sample, go to the next", () => page.decide("accept")],
  ["r", "Reject it, go to the next", () => page.decide("reject")],
  ["R", "Reject it and all beyond its offset, on its side of the clip", () => page.rejectBeyond()],
  ["u", "Take the last decision back", () => page.undo()],
  ["j", "Next sample (also ↓ in the list)", () => page.list.step(1)],
  ["k", "Previous sample (also ↑ in the list)", () => page.list.step(-1)],
  ["b", "Blink: annotated frame and this one in turn", () => viewer.blink()],
  ["+", "Zoom in (also the wheel, once a picture was clicked, two fingers, double click); drag or arrows move", () => viewer.zoom.by(1.5)],
  ["-", "Zoom out", () => viewer.zoom.by(1 / 1.5)],
  ["0", "The whole picture", () => viewer.zoom.reset()],
  ["/", "Search a name", () => words.byId("search").focus()],
  ["?", "This list", () => words.byId("keys").showModal()],
];

const SAID_FOR = 5000; // milliseconds

const page = {
  list: null,
  decisions: null,

  async begin() {
    const store = files.received.get("store");
    if (!store) {
      page.problem("The data of this report could not be read: data/store.js must lie beside this page.");
      return;
    }
    samples.begin(store);
    maps.begin(store);
    page.tellStore(store);
    viewer.begin(store);
    charts.begin(store, (fields) => {
      controls.set(fields);
      words.byId("samples").scrollIntoView();
    });
    try {
      for (const name of store.chunks) {
        samples.add(await files.chunk(name));
        words.byId("count").textContent = `Reading the samples … ${words.number(samples.count)}`;
      }
    } catch (problem) {
      page.problem(problem.message);
      return;
    }
    page.decisions = new Decisions(store, page.changed, page.saved);
    page.list = new List(words.byId("list"), {
      told: page.line,
      drawSmall: page.drawSmall,
      onPick: page.look,
      onClick: page.bringToSight,
    });
    controls.begin(store, () => page.refresh());
    page.listen();
    if (store.drawn || store.server) page.pictures();
    page.refresh();
    page.tellDecisions();
  },

  problem(text) {
    words.byId("problem").textContent = text;
    words.byId("problem").hidden = false;
    words.byId("count").textContent = "";
  },

  tellStore(store) {
    const parts = [store.dataset, store.split].filter(Boolean);
    const about = parts.flatMap((each, i) => [i ? ", " : " of ", words.name(each)]);
    if (store.against) about.push(", against ", words.name(store.against.name));
    words.byId("about").append(...about);
    words.byId("verdict").textContent = store.verdict;
    const decisions = words.quoted(store.decisions_file ?? `${store.name}.decisions.json`);
    const told = (command) => [`${command} … --decisions `, words.name(decisions)];
    words.byId("commands").append(
      ...told("segtrain fit"),
      "\npropagate export ",
      words.name(words.quoted(store.command)),
      ...told(""),
    );
  },

  /** List what the form asks for. */
  refresh(stays = false) {
    const filter = controls.filter();
    const order = controls.order();
    const rows = chooseRows(filter, order, (row) => page.decisions.of(row));
    Object.assign(page, { filter, order });
    page.worst = rows.reduce((worst, row) => Math.max(worst, badness(row, filter, order)), 1e-4);
    page.list.show(rows, stays);
    const all = words.count(samples.count, "sample");
    words.byId("count").textContent = rows.length === samples.count ? all : `${words.number(rows.length)} of ${all}`;
  },

  /** What the list says of a row. */
  line(row) {
    const score = samples.shownScore(row, page.filter.class);
    const decision = page.decisions.of(row);
    const about = [
      words.offset(samples.offset[row]),
      page.filter.level === DOUBTFUL_BELOW
        ? `${words.percent(samples.doubtful[row])} doubtful`
        : `${words.percent(samples.below(row, page.filter.level) / 1000)} below ${(page.filter.level / SURE).toFixed(2)}`,
    ];
    const [name, told] = page.order.by === "differs" ? ["differs", "differ"] : ["wrong", "wrong"];
    if (!Number.isNaN(samples[name][row])) about.push(`${words.percent(samples[name][row])} ${told}`);
    const said = { accept: ", accepted", reject: ", rejected" }[decision] ?? "";
    return {
      name: samples.key[row],
      score: score.toFixed(3),
      bad: badness(row, page.filter, page.order) / page.worst,
      about: about.join(" · "),
      decision,
      label: `${samples.key[row]}, score ${score.toFixed(3)}, offset ${about.join(", ")}${said}`,
    };
  },

  async drawSmall(canvas, row, isWanted) {
    if (!samples.drawn[row] && !samples.store.server) return;
    try {
      const picture = await files.picture(row);
      if (isWanted()) maps.drawSmall(canvas, picture);
    } catch {
      // is told where it is looked at
    }
  },

  /** Small pictures in the list, or none. */
  pictures() {
    const isPictured = !page.list.isPictured;
    page.list.picture(isPictured);
    words.byId("pictured").setAttribute("aria-pressed", String(isPictured));
  },

  look(row) {
    page.tellDecision(row);
    page.tellClip(row);
    viewer.show(row);
    const next = page.list.rows[page.list.position + 1];
    if (row >= 0 && next !== undefined && samples.drawn[next]) {
      files.picture(next).catch(() => {}); // is told when it is looked at
      files.source(samples.source[next]).catch(() => {});
    }
  },

  /** Where the pictures lie below the list, go there. */
  bringToSight() {
    if (matchMedia("(max-width: 60rem)").matches) words.byId("viewer").scrollIntoView();
  },

  decide(decision, rows = [page.list.row]) {
    const { row } = page.list;
    if (row < 0) return;
    page.decisions.decide(rows, decision);
    const told = { accept: "accepted", reject: "rejected" }[decision];
    page.say(rows.length > 1 ? `${words.count(rows.length, "sample")} ${told}` : `${samples.key[row]} ${told}`);
    if (page.list.row === row) page.list.step(1); // else the filter has taken it away
  },

  rejectBeyond() {
    const { row } = page.list;
    if (row >= 0) page.decide("reject", page.decisions.beyond(row));
  },

  undo() {
    const row = page.decisions.undo();
    page.say(row < 0 ? "Nothing to take back" : "Taken back");
    const position = page.list.rows.indexOf(row);
    if (row >= 0 && position >= 0) page.list.pick(position);
  },

  changed() {
    if (page.filter.decision) page.refresh(true);
    else page.list.draw();
    page.tellDecision(page.list.row);
    page.tellClip(page.list.row);
    page.tellDecisions();
  },

  /** The clip of a row: how doubtful each of its samples is, and what was decided. */
  tellClip(row) {
    const clip = row < 0 ? [] : samples.clip(row);
    const worst = Math.max(1e-4, ...clip.map((each) => 1 - samples.score[each]));
    words.byId("clip").replaceChildren(...clip.map((each) => page.clipButton(each, row, (1 - samples.score[each]) / worst)));
  },

  clipButton(each, row, doubt) {
    const decision = page.decisions.of(each);
    const said = { accept: ", accepted", reject: ", rejected" }[decision] ?? "";
    const offset = words.offset(samples.offset[each]);
    const position = page.list.rows.indexOf(each);
    const label = `Offset ${offset}, score ${samples.score[each].toFixed(3)}${said}`;
    const bar = words.element("span", { className: "upright" }, words.element("span"));
    bar.firstElementChild.style.height = `${100 * doubt}%`;
    const mark = words.element("span", { className: "mark", textContent: MARKS[decision] });
    const button = words.element("button", { type: "button", title: label, "aria-label": label }, mark, bar, offset);
    button.disabled = position < 0;
    if (position < 0) button.title = `${label}; left out by the filters`;
    if (each === row) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => page.list.pick(position));
    return words.element("li", { "data-decision": decision }, button);
  },

  tellDecision(row) {
    const decision = row < 0 ? "" : page.decisions.of(row);
    words.byId("accept").setAttribute("aria-pressed", String(decision === "accept"));
    words.byId("reject").setAttribute("aria-pressed", String(decision === "reject"));
  },

  tellDecisions() {
    const { accept, reject, open } = page.decisions.counts;
    words.byId("decided-count").textContent =
      `${words.number(accept)} accepted, ${words.number(reject)} rejected, ${words.number(open)} open.`;
    words.byId("tally").textContent = accept + reject ? `${words.number(reject)} rejected, ${words.number(accept)} accepted` : "";
  },

  saved(text, isProblem) {
    words.byId("saved").textContent = text;
    words.byId("saved").classList.toggle("problem", isProblem);
    words.byId("save").hidden = !isProblem || !samples.store.server;
    if (isProblem) page.say(text);
  },

  /** Say something for some seconds, also to those who do not see it. */
  say(text) {
    clearTimeout(page.saying);
    words.byId("status").textContent = text;
    page.saying = setTimeout(() => (words.byId("status").textContent = ""), SAID_FOR);
  },

  listen() {
    const clicks = {
      accept: () => page.decide("accept"),
      reject: () => page.decide("reject"),
      beyond: page.rejectBeyond,
      undo: page.undo,
      next: () => page.list.step(1),
      previous: () => page.list.step(-1),
      download: () => page.decisions.download(),
      save: () => page.decisions.save(),
      pictured: page.pictures,
      help: () => words.byId("keys").showModal(),
    };
    for (const [id, act] of Object.entries(clicks)) words.byId(id).addEventListener("click", act);
    const told = KEYS.flatMap(([key, text]) => [
      words.element("dt", {}, words.element("kbd", { textContent: key === "R" ? "Shift R" : key })),
      words.element("dd", { textContent: text }),
    ]);
    words.byId("keys-list").append(...told);
    document.addEventListener("keydown", page.key);
    addEventListener("beforeunload", (event) => {
      if (page.decisions.unsaved) event.preventDefault();
    });
  },

  key(event) {
    const isWriting = event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
    if (isWriting && event.key === "Escape") words.byId("list").focus();
    if (isWriting || event.ctrlKey || event.metaKey || event.altKey) return;
    if (words.byId("keys").open || !words.byId("single-keys").checked) return;
    const found = KEYS.find(([key]) => key === event.key);
    if (!found) return;
    event.preventDefault();
    found[2]();
  },
};

addEventListener("DOMContentLoaded", page.begin); // when data/store.js has been read, or is not there
