"""MobileNetV2 in plain PyTorch, for benchmarks only."""

from __future__ import annotations

from torch import nn

# Table 2 of arXiv 1801.04381: expansion, filters, blocks, stride of the first block.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv_bn(
    inputs: int, filters: int, size: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, filters, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01)]


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, filters: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        layers = [] if expansion == 1 else [*_conv_bn(inputs, hidden), nn.ReLU6(inplace=True)]
        layers += [*_conv_bn(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*layers, *_conv_bn(hidden, filters))
        self.is_residual = stride == 1 and inputs == filters

    def forward(self, x):
        return x + self.body(x) if self.is_residual else self.body(x)


def mobilenet_v2(alpha: float, classes: int, make_divisible) -> nn.Module:
    """Returns the network [B, 3, H, W] in [-1, 1] -> class logits [B, classes].

    Args:
        alpha: width multiplier.
        classes: number of class logits.
        make_divisible: rounds a channel count.
    """
    channels = make_divisible(32 * alpha)
    layers = [*_conv_bn(3, channels, 3, 2), nn.ReLU6(inplace=True)]
    for expansion, filters, blocks, first_stride in STAGES:
        filters = make_divisible(filters * alpha)
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            layers.append(_InvertedResidual(channels, filters, stride, expansion))
            channels = filters
    last = make_divisible(1280 * max(alpha, 1.0))
    layers += [*_conv_bn(channels, last), nn.ReLU6(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))
