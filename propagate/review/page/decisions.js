"use strict";
/* What was decided of which sample: taken back, kept by the browser or the server, and given as a file. */

const UNDECIDED = 0;
const CHANGED_MEANWHILE = 409; // as the server answers
const DECISIONS = ["", "accept", "reject"];

class Decisions {
  /** onChange: called when some have changed; onSaved: with a sentence, and whether it tells of a failure. */
  constructor(store, onChange, onSaved) {
    Object.assign(this, { store, onChange, onSaved });
    this.value = new Uint8Array(samples.count);
    this.at = new Map(); // ISO times by row, also of what was taken back
    this.steps = []; // to take back: [[row, value, time], …] each
    this.saving = null;
    this.begin();
  }

  /** What the report came with, and, where no server keeps them, what this browser kept; the later counts. */
  begin() {
    this.rows = samples.byIdentity();
    this.version = this.store.server?.version;
    const kept = this.store.server ? [] : this.kept();
    const strangers = this.take([...(this.store.decisions?.samples ?? []), ...kept]);
    if (strangers) {
      this.onSaved(`${words.count(strangers, "decision")} left out: made of samples as they are no longer.`, true);
    }
  }

  /** Let decisions count that are later than those here; the number of those about samples that are not here. */
  take(decisions) {
    let strangers = 0;
    for (const each of decisions) {
      const row = this.rows.get(samples.identity(each.source_key, each.offset, each.pairing));
      const digest = row === undefined ? "" : samples.digest[row];
      if (row === undefined || (digest && each.digest && digest !== each.digest)) strangers++;
      else if (!(this.at.get(row) > each.at)) {
        this.value[row] = Math.max(0, DECISIONS.indexOf(each.decision));
        this.at.set(row, each.at);
      }
    }
    return strangers;
  }

  get name() {
    return `propagate decisions ${this.store.store_id}`;
  }

  kept() {
    try {
      return JSON.parse(localStorage.getItem(this.name) ?? "[]");
    } catch {
      return [];
    }
  }

  of(row) {
    return DECISIONS[this.value[row]];
  }

  /** Numbers of accepted and rejected samples. */
  get counts() {
    const counts = [0, 0, 0];
    for (const each of this.value) counts[each]++;
    return { accept: counts[1], reject: counts[2], open: counts[0] };
  }

  /** Decide about rows: "accept", "reject", or "" to leave them open. */
  decide(rows, decision) {
    const value = DECISIONS.indexOf(decision);
    const at = new Date().toISOString();
    this.steps.push(rows.map((row) => [row, this.value[row], this.at.get(row)]));
    for (const row of rows) {
      this.value[row] = value;
      this.at.set(row, at);
    }
    this.changed();
  }

  /** Take the last step back; the row it was made at, or -1 where there is none. */
  undo() {
    const step = this.steps.pop();
    if (!step) return -1;
    const at = new Date().toISOString();
    for (const [row, value] of step) {
      this.value[row] = value;
      this.at.set(row, at);
    }
    this.changed();
    return step[0][0];
  }

  /** The row itself first, and every one of its clip that is as far or further on its side. */
  beyond(row) {
    const { source, offset } = samples;
    const side = Math.sign(offset[row]);
    const rows = [row];
    for (let each = 0; each < samples.count; each++) {
      const isOnSide = side !== 0 && Math.sign(offset[each]) === side;
      if (each !== row && source[each] === source[row] && isOnSide && Math.abs(offset[each]) >= Math.abs(offset[row])) {
        rows.push(each);
      }
    }
    return rows;
  }

  changed() {
    this.onChange();
    if (this.store.server) this.save();
    else this.keep();
  }

  /** All that was decided, as the file has it; with what was taken back where `all`. */
  entries(all = false) {
    return [...this.at.keys()]
      .filter((row) => all || this.value[row] !== UNDECIDED)
      .sort((one, other) => one - other)
      .map((row) => ({
        source_key: samples.sourceKey(row),
        offset: samples.offset[row],
        pairing: PAIRINGS[samples.pairing[row]],
        digest: samples.digest[row],
        decision: this.of(row) || null, // what was taken back
        at: this.at.get(row),
      }));
  }

  file() {
    return { version: 1, store: this.store.store_id, samples: this.entries() };
  }

  keep() {
    try {
      localStorage.setItem(this.name, JSON.stringify(this.entries(true)));
      this.onSaved("Kept in this browser: download them to use them.", false);
    } catch {
      this.onSaved("This browser keeps nothing: download your decisions before you leave.", true);
    }
  }

  /** Send everything to the server; what changes meanwhile is sent afterwards. */
  async save() {
    this.unsaved = true;
    this.onSaved("Saving …", false);
    if (this.saving) return;
    while (this.unsaved) {
      this.unsaved = false;
      this.saving = this.post();
      const problem = await this.saving;
      this.saving = null;
      if (problem) {
        this.unsaved = true;
        this.onSaved(`Not saved: ${problem.replace(/\.$/, "")}. Your decisions are in this page alone, until they are.`, true);
        return;
      }
    }
    this.onSaved("Saved.", false);
  }

  /** Why it went wrong, or "". What another window has saved meanwhile is taken over first. */
  async post(isSecond = false) {
    const headers = { "Content-Type": "application/json", "If-Match": this.version };
    try {
      const body = JSON.stringify(this.file());
      const answer = await fetch(this.store.server.save, { method: "POST", headers, body });
      if (answer.ok) {
        this.version = (await answer.json()).version;
        return "";
      }
      if (answer.status === CHANGED_MEANWHILE && !isSecond) {
        const now = await files.load("store.js", "store");
        this.take(now.decisions?.samples ?? []);
        this.version = now.server.version;
        this.onChange();
        return this.post(true);
      }
      return (await answer.text()).slice(0, 300).trim() || `the server answers ${answer.status}`;
    } catch {
      return "the server does not answer";
    }
  }

  download() {
    const text = `${JSON.stringify(this.file(), null, 1)}\n`;
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    const link = words.element("a", { href: address, download: `${this.store.name}.decisions.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}
