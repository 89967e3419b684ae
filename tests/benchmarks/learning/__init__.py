"""Data and measures of the learning benchmark. Nothing here may be used for training or for anchors."""
