"use strict";
/* Label maps and confidence as pixels of canvases. */

const IGNORED = 255; // as a train id
const SURE = LEVELS - 1;

/* Why a pixel is doubtful, in the order of `store.reasons`; colours that colour-blind people tell apart. */
const REASONS = {
  matched: { colour: "#f0e442", name: "at an outline" },
  mismatch: { colour: "#e69f00", name: "does not match" },
  covered: { colour: "#d55ea8", name: "was hidden" },
  entered: { colour: "#56b4e9", name: "came in" },
};
const SMALL_OPACITY = 0.5;
const UNEXPLAINED = "#e69f00";

const maps = {
  /** Sixteen colours of one hue, the lightest for what is sure, at equal distances to the eye (OKLCH). */
  confidence: Array.from({ length: LEVELS }, (_, level) => {
    const share = level / SURE;
    return oklch(0.27 + 0.7 * share, 0.12 * (1 - share) + 0.012, 262);
  }),

  begin(store) {
    maps.colours = new Uint32Array(256).fill(pixelOf("#000000"));
    store.classes.forEach((each, index) => (maps.colours[index] = pixelOf(each.color)));
    maps.trainIds = new Uint8Array(256).fill(IGNORED); // by index: classes of one train id count as the same
    store.classes.forEach((each, index) => (maps.trainIds[index] = each.train_id));
    maps.levels = Uint32Array.from(maps.confidence, pixelOf);
    maps.reasons = Uint32Array.from(store.reasons, (name) => pixelOf(REASONS[name].colour));
  },

  /** Labels in their colours; hidden: Set of class indices. */
  paintLabels(canvas, picture, label, hidden) {
    paint(canvas, picture, (i) => (hidden.has(label[i]) ? 0 : maps.colours[label[i]]));
  },

  /** A picture under its labels, as large as a canvas is shown. */
  drawSmall(canvas, picture) {
    const scale = (canvas.clientWidth * devicePixelRatio) / picture.width;
    canvas.width = Math.round(picture.width * scale);
    canvas.height = Math.round(picture.height * scale);
    const labels = document.createElement("canvas");
    maps.paintLabels(labels, picture, picture.label, new Set());
    const context = canvas.getContext("2d");
    context.drawImage(picture.image, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = SMALL_OPACITY;
    context.drawImage(labels, 0, 0, canvas.width, canvas.height);
  },

  paintConfidence(canvas, picture) {
    paint(canvas, picture, (i) => maps.levels[picture.confidence[i]]);
  },

  /** The doubtful pixels in the colours of the reasons. */
  paintReasons(canvas, picture, explained) {
    const plain = pixelOf(UNEXPLAINED);
    paint(canvas, picture, (i) => {
      if (picture.confidence[i] >= DOUBTFUL_BELOW) return 0;
      return explained ? maps.reasons[picture.reason[i]] : plain;
    });
  },

  /** Where the labels are wrong, in the colours of these labels; what the truth ignores is not wrong. */
  paintWrong(canvas, picture, truth) {
    const { label } = picture;
    const { trainIds } = maps;
    paint(canvas, picture, (i) => {
      const right = trainIds[truth[i]];
      return right === IGNORED || right === trainIds[label[i]] ? 0 : maps.colours[label[i]];
    });
  },

  /** Where the labels differ from another store's, in the colours of these labels. */
  paintDifference(canvas, picture, other) {
    const { label } = picture;
    paint(canvas, picture, (i) => (label[i] === other[i] ? 0 : maps.colours[label[i]]));
  },

  /** What the colours of confidence stand for. */
  ramp() {
    const text = (textContent) => words.element("span", { textContent });
    return [text("doubtful"), ...maps.confidence.map((colour) => words.swatch(colour)), text("sure")];
  },

  reasonsKey(names) {
    return names.map((name) =>
      words.element("span", { className: "item" }, words.swatch(REASONS[name].colour), REASONS[name].name),
    );
  },

  /** The share of each class, as [index, share], the greatest first. */
  shares(label) {
    const counts = new Uint32Array(256);
    for (const each of label) counts[each]++;
    return [...counts]
      .map((count, index) => [index, count / label.length])
      .filter(([, share]) => share > 0)
      .sort((one, other) => other[1] - one[1]);
  },

  /** The share of the pixels that are doubtful for each reason, in the order of `store.reasons`. */
  doubts(picture) {
    const counts = new Uint32Array(maps.reasons.length);
    const { confidence, reason } = picture;
    for (let i = 0; i < confidence.length; i++) if (confidence[i] < DOUBTFUL_BELOW) counts[reason[i]]++;
    return Array.from(counts, (count) => count / confidence.length);
  },
};

/** Fill a canvas of the picture's size with what `pixel` gives for each place. */
function paint(canvas, { width, height }, pixel) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = pixel(i);
  context.putImageData(image, 0, 0);
}

/** "#rrggbb" -> an opaque pixel, as canvases hold it on little-endian machines. */
function pixelOf(colour) {
  const value = parseInt(colour.slice(1), 16);
  return ((0xff << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

/** A colour by its lightness, chroma and hue in degrees -> "#rrggbb" (B. Ottosson, "A perceptual color space", 2020). */
function oklch(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * middle + 1.707614701 * short,
  ];
  const byte = (value) => {
    const inside = Math.min(Math.max(value, 0), 1);
    const coded = inside <= 0.0031308 ? 12.92 * inside : 1.055 * inside ** (1 / 2.4) - 0.055;
    return Math.round(255 * coded).toString(16).padStart(2, "0");
  };
  return `#${linear.map(byte).join("")}`;
}
