"""The ground: classes, clips, images and samples, which every other room and segtrain stand on."""
