"""Networks of motion, and their files of weights: FlowNet2, RAFT, video predictors, operations that PyTorch lacks."""
