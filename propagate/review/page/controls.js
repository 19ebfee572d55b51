"use strict";
/* The form that finds samples: what it offers, and what it says. */

const SUGGESTED = 500; // names of sequences, as many as a browser lists at once
const MORE = ["group", "from", "to", "origin", "decision", "score", "share"]; // fields that are folded away

const controls = {
  begin(store, onChange) {
    controls.form = words.byId("filter");
    controls.reversed = false;
    const { elements } = controls.form;
    for (const [name, order] of Object.entries(ORDERS)) {
      if (!order.has || store.has[order.has]) elements.order.append(new Option(order.name, name));
    }
    if (store.has.against) elements.order.value = "differs";
    store.classes.forEach((each, index) => elements.class.append(new Option(each.name, index)));
    store.origins.forEach((each, index) => elements.origin.append(new Option(each, index)));
    const groups = [...store.groups].sort().slice(0, SUGGESTED);
    words.byId("groups").append(...groups.map((name) => new Option(name, name)));
    controls.form.addEventListener("submit", (event) => event.preventDefault());
    controls.form.addEventListener("input", () => controls.changed(onChange));
    words.byId("clear").addEventListener("click", () => {
      for (const name of ["text", "class", ...MORE]) elements[name].value = "";
      elements.level.value = NO_FILTER.level;
      controls.changed(onChange);
    });
    controls.ordered = elements.order.value;
    words.byId("direction").addEventListener("click", () => {
      controls.reversed = !controls.reversed;
      controls.changed(onChange);
    });
    controls.told();
  },

  changed(onChange) {
    const { value } = controls.form.elements.order;
    if (value !== controls.ordered) controls.reversed = false;
    controls.ordered = value;
    controls.told();
    onChange();
  },

  told() {
    const { elements } = controls.form;
    const { level } = controls.filter();
    words.byId("level-told").textContent = (level / SURE).toFixed(2);
    const [first, other] = ORDERS[elements.order.value].ways ?? ["worst first", "best first"];
    const button = words.byId("direction");
    button.textContent = `${controls.reversed ? other : first} ⇅`;
    button.title = `Turn the order round: ${controls.reversed ? first : other}`;
    const more = MORE.filter((name) => elements[name].value);
    words.byId("clear").hidden = !more.length && !elements.text.value && !elements.class.value;
    words.byId("active").textContent = more.length ? `(${more.length})` : "";
  },

  filter() {
    const { elements } = controls.form;
    const number = (name, none) => (elements[name].value === "" ? none : Number(elements[name].value));
    return {
      text: elements.text.value.trim(),
      class: number("class", NO_FILTER.class),
      group: elements.group.value.trim(),
      from: number("from", NO_FILTER.from),
      to: number("to", NO_FILTER.to),
      origin: number("origin", NO_FILTER.origin),
      decision: elements.decision.value,
      score: number("score", NO_FILTER.score),
      share: number("share", NO_FILTER.share),
      level: number("level", NO_FILTER.level),
    };
  },

  order() {
    return { by: controls.form.elements.order.value, reversed: controls.reversed };
  },

  /** Set fields of the form, as if somebody had. */
  set(values) {
    for (const [name, value] of Object.entries(values)) controls.form.elements[name].value = value;
    controls.form.dispatchEvent(new Event("input"));
  },
};
