"""What segmentation networks are trained on: cross entropy, weighted, on hard pixels, and with relaxed boundaries.

All take logits [B,C,H,W] of any float and labels [B,H,W], train ids of any integer type with 255 for ignored, on one
device; they compute in float32 at least, and return a scalar that is finite whatever is ignored: 0 where nothing is
left to train on.

A loss of what else a step gives (other frames, features, auxiliary outputs) is an `objective.Objective`; `registry`
knows all by name. A new one is a file here that makes an objective of `settings.LossSettings`, and a line there.

Defects of the published losses that these don't have:

- The relaxed loss of a batch applies the weights 1/n of *all* its images to each: two images whose losses add up to
  19.984 cost 40.667. What was trained with it needs it again: `as_published` puts it back.
- It takes the logarithm of a softmax, which is NaN once the right class lies some hundred below another.
- Weights by inverse share are infinite times 0 for absent classes: always NaN when relaxed.
- Cross entropy, image-weighted too, is NaN where every pixel is ignored.
"""
