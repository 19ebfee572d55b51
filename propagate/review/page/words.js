"use strict";
/* Words, numbers and elements: whatever is shown goes in as text, never as HTML. */

const words = {
  percent(share, decimals = 1) {
    return `${(100 * share).toFixed(decimals)}\u00a0%`;
  },

  number(value) {
    return value.toLocaleString("en");
  },

  count(value, one, many = `${one}s`) {
    return `${words.number(value)} ${value === 1 ? one : many}`;
  },

  offset(value) {
    return value > 0 ? `+${value}` : value < 0 ? `−${-value}` : "0";
  },

  /** "a, b and c". */
  listed(parts) {
    return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}`;
  },

  /** An element; properties with a dash, and `role`, are attributes; children are elements or text. */
  element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.includes("-") || name === "role") made.setAttribute(name, value);
      else made[name] = value;
    }
    made.append(...children);
    return made;
  },

  /** A name that somebody else chose, which may run from right to left. */
  name(text, className = "") {
    return words.element("bdi", { className, textContent: text });
  },

  /** A word as a shell takes it. */
  quoted(text) {
    return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
  },

  swatch(colour) {
    const made = words.element("span", { className: "swatch", "aria-hidden": "true" });
    made.style.background = colour;
    return made;
  },

  byId(id) {
    return document.getElementById(id);
  },
};
