"""Networks of motion, and their files of weights: FlowNet2, the video predictors, the operations PyTorch lacks."""
