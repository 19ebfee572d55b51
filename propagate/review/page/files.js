"use strict";
/* The data files: each is a script that calls a function of `report`, since a page from the disk may read nothing else. */

const PICTURES_KEPT = 40;

const report = {
  store(value) {
    files.received.set("store", value);
  },
  rows(value) {
    files.received.set("rows", value);
  },
  picture(row, value) {
    files.received.set(`picture ${row}`, value);
  },
  source(index, value) {
    files.received.set(`source ${index}`, value);
  },
};

const files = {
  received: new Map(),
  pictures: new Map(), // promises, the one looked at last is last
  sources: new Map(),

  /** What the script at a path gives under a name. */
  load(path, name) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `data/${path}`;
      script.onload = () => {
        const value = files.received.get(name);
        files.received.delete(name);
        script.remove();
        if (value === undefined) reject(new Error(`data/${path} is damaged: write the report again`));
        else resolve(value);
      };
      script.onerror = () => {
        script.remove();
        reject(new Error(`data/${path} could not be read: it must lie beside this page, unchanged`));
      };
      document.head.append(script);
    });
  },

  chunk(name) {
    return files.load(name, "rows");
  },

  /** A sample's picture with its maps as arrays. */
  picture(row) {
    return files.kept(files.pictures, row, async () => {
      const picture = await files.load(`p-${row}.js`, `picture ${row}`);
      const [label, coded, truth, against] = await Promise.all(
        [picture.label, picture.confidence, picture.truth, picture.against].map(files.inflate),
      );
      const confidence = coded.map((each) => each & 15);
      const reason = coded.map((each) => each >> 4);
      return { ...picture, image: await files.image(picture.frame), label, confidence, reason, truth, against };
    });
  },

  /** The annotated frame of a clip; null where the store does not have it. */
  async source(index) {
    if (!samples.store.sources_drawn[index]) return null;
    return files.kept(files.sources, index, async () => {
      const source = await files.load(`s-${index}.js`, `source ${index}`);
      return { ...source, image: await files.image(source.frame), label: await files.inflate(source.label) };
    });
  },

  kept(cache, name, make) {
    const found = cache.get(name) || make();
    cache.delete(name);
    cache.set(name, found);
    found.catch(() => cache.delete(name)); // so that it can be tried again
    if (cache.size > PICTURES_KEPT) cache.delete(cache.keys().next().value);
    return found;
  },

  async image(address) {
    const image = new Image();
    image.src = address;
    await image.decode();
    return image;
  },

  /** Base64 of zlib data -> bytes; null stays null. */
  async inflate(text) {
    if (text === null) return null;
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  },
};
