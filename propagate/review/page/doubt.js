"use strict";
/* Why a sample is doubtful, in a sentence. */

const WHY = {
  covered: "were hidden in the annotated frame",
  entered: "came into the frame",
  mismatch: "do not look like where they come from",
  matched: "look alike, but other places do as well",
};
const WORTH_SAYING = 5e-4; // of the pixels: what would round to 0.0 % is left out

function whyDoubtful(row, picture, store) {
  const { doubtful, origin, offset } = samples;
  if (store.origins[origin[row]] === "annotated" && offset[row] === 0) return "A person annotated this frame.";
  if (doubtful[row] < WORTH_SAYING) return "Hardly any of its pixels are doubtful.";
  const whole = `${words.percent(doubtful[row])} of its pixels are doubtful`;
  if (!store.has.reasons) return `${whole}.`;
  const shares = maps.doubts(picture);
  const drawn = shares.reduce((sum, each) => sum + each, 0);
  if (drawn === 0) return `${whole}.`;
  // the picture may be smaller than the frame, whose share it is that is told
  const parts = store.reasons
    .map((name, i) => [name, (shares[i] / drawn) * doubtful[row]])
    .filter(([, share]) => share >= WORTH_SAYING)
    .sort((one, other) => other[1] - one[1])
    .map(([name, share]) => `${words.percent(share)} ${WHY[name]}`);
  return `${whole}: ${parts.join(", ")}.`;
}
