"""Segmentation networks: families, as DeepLabV3+ and PSPNet, the trunks that they stand on, and the registry of both.

`deepwv3plus`, `srnx50`, `srnx101`, `resnet50` and `resnet101` are those of Zhu et al., CVPR 2019, by their published
parameters; `resnet18` and `mobilenetv2` are for small machines and real time, with a head of half as many channels.
`pspnet18` and `pspnet101` are student and teacher of Liu et al., ECCV 2020, `pspnet-mobilenetv2` a lighter student.
"""
