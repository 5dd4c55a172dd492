"""Image classification with MobileNetV2."""
