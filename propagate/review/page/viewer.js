"use strict";
/* One sample: its frame under labels, its confidence and its doubts, beside the annotated frame. */

const BLINKS_EVERY = 600; // milliseconds

const viewer = {
  row: -1,
  hidden: new Set(), // indices of the classes that are not shown
  views: {},
  zoom: null,
  blinking: 0,
  showsSource: false,

  /** room: what to fill; does: {undrawn: row -> a sentence}. */
  begin(store) {
    viewer.store = store;
    viewer.zoom = new Zoom();
    viewer.grid = words.byId("views");
    for (const [name, title] of viewsOf(store)) viewer.add(name, title);
    words.byId("opacity").addEventListener("input", viewer.fade);
    words.byId("blink").addEventListener("click", viewer.blink);
    words.byId("closer").addEventListener("click", () => viewer.zoom.by(1.5));
    words.byId("farther").addEventListener("click", () => viewer.zoom.by(1 / 1.5));
    words.byId("whole").addEventListener("click", () => viewer.zoom.reset());
    words.byId("all-classes").addEventListener("click", () => viewer.hide(new Set()));
    viewer.views.confidence.key.append(...maps.ramp());
    if (store.has.reasons) viewer.views.doubts.key.append(...maps.reasonsKey(store.reasons));
    viewer.fade();
  },

  add(name, title) {
    const image = words.element("img", { alt: "" });
    const canvas = words.element("canvas", { role: "img" });
    const layers = words.element("div", { className: "layers" }, image, canvas);
    const stage = words.element("div", { className: "stage", tabIndex: 0, role: "group", "aria-label": title }, layers);
    const larger = words.element("button", { type: "button", textContent: "⤢", title: "Enlarge", "aria-pressed": "false" });
    const key = words.element("p", { className: "ramp" });
    const caption = words.element("figcaption", {}, words.element("h3", {}, words.name(title)), larger);
    const figure = words.element("figure", { className: `view view-${name}` }, caption, stage, key);
    larger.addEventListener("click", () => {
      const isLarge = figure.classList.toggle("large");
      larger.setAttribute("aria-pressed", isLarge);
    });
    larger.setAttribute("aria-label", `Enlarge: ${title}`);
    viewer.grid.append(figure);
    viewer.zoom.attach(stage);
    viewer.views[name] = { figure, stage, image, canvas, title: caption.firstElementChild.firstElementChild, key };
  },

  /** Look at a row; -1: at none. */
  async show(row) {
    viewer.row = row;
    viewer.picture = null;
    viewer.stopBlinking();
    words.byId("sample").hidden = row < 0;
    if (row < 0) return;
    viewer.facts(row);
    const isThere = samples.drawn[row] === 1 || Boolean(viewer.store.server);
    words.byId("pictures").hidden = !isThere;
    viewer.say(isThere ? "" : undrawn(viewer.store));
    if (!isThere) return;
    const waits = setTimeout(() => viewer.say("The pictures are being made …"), 400);
    try {
      const [picture, source] = await Promise.all([files.picture(row), files.source(samples.source[row])]);
      if (viewer.row !== row) return;
      viewer.draw(row, picture, source);
      viewer.say("");
    } catch (problem) {
      if (viewer.row !== row) return;
      words.byId("pictures").hidden = true;
      viewer.say(problem.message);
    } finally {
      clearTimeout(waits);
    }
  },

  say(text) {
    const box = words.byId("undrawn");
    box.hidden = !text;
    box.textContent = text;
  },

  facts(row) {
    words.byId("sample-name").textContent = samples.key[row];
    words.byId("why").textContent = "";
    const { doubtful, fresh, miou, wrong, differs } = samples;
    const facts = [
      ["Offset", words.offset(samples.offset[row])],
      ["Score", samples.score[row].toFixed(3)],
      ["Doubtful", words.percent(doubtful[row])],
      ["New", words.percent(fresh[row]), fresh[row]],
      ["mIoU", words.percent(miou[row]), miou[row]],
      ["Wrong", words.percent(wrong[row]), wrong[row]],
      ["Differs", words.percent(differs[row]), differs[row]],
      ["Labels", viewer.store.origins[samples.origin[row]]],
      ["Frame", samples.pairing[row] === LABEL ? "recorded" : "predicted"],
      ["Sequence", samples.groupName(row)],
      ["Annotated frame", samples.sourceKey(row)],
    ];
    words.byId("sample-facts").replaceChildren(
      ...facts
        .filter(([, , value]) => value === undefined || !Number.isNaN(value))
        .map(([name, value]) =>
          words.element(
            "div",
            {},
            words.element("dt", { textContent: name }),
            words.element("dd", {}, words.name(value)),
          ),
        ),
    );
  },

  draw(row, picture, source) {
    Object.assign(viewer, { picture, source });
    const { views, store } = viewer;
    const frame = picture.image.src;
    for (const [name, view] of Object.entries(views)) {
      view.stage.style.aspectRatio = `${picture.width} / ${picture.height}`;
      view.image.src = name === "source" ? (source ?? picture).image.src : frame;
    }
    maps.paintConfidence(views.confidence.canvas, picture);
    maps.paintReasons(views.doubts.canvas, picture, store.has.reasons);
    for (const name of ["truth", "against"]) {
      if (!views[name]) continue;
      views[name].figure.hidden = views[`not-${name}`].figure.hidden = !picture[name];
    }
    if (picture.truth) maps.paintWrong(views["not-truth"].canvas, picture, picture.truth);
    if (picture.against) maps.paintDifference(views["not-against"].canvas, picture, picture.against);
    views.source.figure.hidden = words.byId("blink").disabled = !source;
    viewer.paintLabels();
    viewer.legend(row);
    const sentence = whyDoubtful(row, picture, store);
    words.byId("why").textContent = sentence;
    viewer.tell(row, sentence);
  },

  /** The label maps in the colours of the classes that are shown. */
  paintLabels() {
    const { views, picture, source, hidden } = viewer;
    maps.paintLabels(views.labels.canvas, picture, picture.label, hidden);
    if (source) maps.paintLabels(views.source.canvas, source, source.label, hidden);
    for (const name of ["truth", "against"]) {
      if (views[name] && picture[name]) maps.paintLabels(views[name].canvas, picture, picture[name], hidden);
    }
  },

  /** What the pictures show, for those who do not see them. */
  tell(row, sentence) {
    const key = samples.key[row];
    const told = {
      labels: `${key} under its labels: ${classShares(viewer.picture.label)}`,
      confidence: `Confidence in the labels of ${key}; mean ${samples.score[row].toFixed(2)}`,
      doubts: sentence,
      source: viewer.source ? `${samples.sourceKey(row)}, the annotated frame, under its labels: ${classShares(viewer.source.label)}` : "",
      truth: `The true labels of ${key}`,
      "not-truth": `Wrong pixels of ${key}`,
      against: `The other store's labels of ${key}`,
      "not-against": `Pixels of ${key} whose labels differ from the other store's`,
    };
    for (const [name, view] of Object.entries(viewer.views)) view.canvas.setAttribute("aria-label", told[name]);
  },

  legend(row) {
    const shares = maps.shares(viewer.picture.label);
    words.byId("classes").replaceChildren(
      ...shares.map(([index, share]) => {
        const known = viewer.store.classes[index];
        const score = samples.classScore(row, index);
        const about = Number.isNaN(score) ? words.percent(share) : `${words.percent(share)} · ${score.toFixed(2)}`;
        const button = words.element(
          "button",
          { type: "button", "aria-pressed": String(!viewer.hidden.has(index)) },
          words.swatch(known ? known.color : "#000000"),
          words.name(known ? known.name : "unknown"),
          words.element("span", { className: "quiet", textContent: about }),
        );
        button.addEventListener("click", () => {
          const hidden = new Set(viewer.hidden);
          if (!hidden.delete(index)) hidden.add(index);
          viewer.hide(hidden);
          button.setAttribute("aria-pressed", String(!hidden.has(index)));
        });
        return words.element("li", {}, button);
      }),
    );
  },

  hide(hidden) {
    viewer.hidden = hidden;
    if (!viewer.picture) return;
    viewer.paintLabels();
    if (!hidden.size) viewer.legend(viewer.row);
  },

  fade() {
    viewer.grid.style.setProperty("--opacity", words.byId("opacity").value / 100);
  },

  /** Let target and annotated frame take turns; one turn at each call where motion is not wanted. */
  blink() {
    if (!viewer.picture || !viewer.source) return;
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) viewer.turn();
    else if (viewer.blinking) viewer.stopBlinking();
    else {
      viewer.turn();
      viewer.blinking = setInterval(viewer.turn, BLINKS_EVERY);
      words.byId("blink").setAttribute("aria-pressed", "true");
    }
  },

  turn(showsSource = !viewer.showsSource) {
    viewer.showsSource = showsSource;
    const { image, canvas, title } = viewer.views.labels;
    image.src = (showsSource ? viewer.source : viewer.picture).image.src;
    const shown = showsSource ? viewer.source : viewer.picture;
    maps.paintLabels(canvas, shown, shown.label, viewer.hidden);
    title.textContent = showsSource ? "Annotated frame, in turn" : "Labels";
  },

  stopBlinking() {
    clearInterval(viewer.blinking);
    viewer.blinking = 0;
    words.byId("blink").setAttribute("aria-pressed", "false");
    if (viewer.showsSource) viewer.turn(false);
  },
};

/** Names and titles of the views that a store has. */
function viewsOf({ has, against }) {
  const views = [
    ["labels", "Labels"],
    ["doubts", has.reasons ? "Why doubtful" : "Doubtful"],
    ["confidence", "Confidence"],
    ["source", "Annotated frame"],
  ];
  if (has.truth) views.push(["truth", "Truth"], ["not-truth", "Wrong"]);
  if (has.against) views.push(["against", `Labels of ${against.name}`], ["not-against", "Different there"]);
  return views;
}

function undrawn({ drawn, rows, command }) {
  const worst = drawn ? `The ${words.count(drawn, "worst sample")} of ${words.number(rows)} are drawn` : "None is drawn";
  return `No pictures of this sample in this report. ${worst}; any sample is drawn by: propagate review ${words.quoted(command)}`;
}

function classShares(label) {
  const told = maps.shares(label).slice(0, 5);
  return words.listed(told.map(([index, share]) => `${className(index)} ${words.percent(share, 0)}`));
}

function className(index) {
  return viewer.store.classes[index]?.name ?? "unknown";
}
