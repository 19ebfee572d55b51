"""What a network learns of frames beside the annotated one, and of a teacher: consistency in time, and its knowledge.

Pure functions of tensors, in the right form, and beside it as published: of Liu et al., "Efficient Semantic Video
Segmentation with Per-frame Inference", ECCV 2020, and of its released code. All compute in float32 at least, and are
computed outside autocast.
"""
