"""Runnable TensorFlow 1 graphs of the small networks, as the original code would have made them."""

from __future__ import annotations

import tensorflow as tf

BLOCK_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


class _Builder:
    def __init__(self, arrays: dict) -> None:
        self.arrays = arrays

    def variable(self, name: str):
        constant = tf.constant(self.arrays[name], name=name)
        return tf.identity(constant, name=f"{name}/read")

    def convolution(self, x, scope, stride=1, dilation=1, epsilon=1e-3, activation=tf.nn.relu6):
        if f"{scope}/depthwise_weights" in self.arrays:
            kernel = self.variable(f"{scope}/depthwise_weights")
            strides = (1, stride, stride, 1)
            x = tf.nn.depthwise_conv2d(x, kernel, strides, "SAME", dilations=(dilation, dilation))
        else:
            x = tf.nn.conv2d(x, self.variable(f"{scope}/weights"), stride, "SAME")
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        values = [self.variable(f"{scope}/BatchNorm/{name}") for name in names]
        x = tf.compat.v1.nn.fused_batch_norm(x, *values, epsilon=epsilon, is_training=False)[0]
        return activation(x) if activation else x

    def biased(self, x, scope):
        return tf.nn.conv2d(x, self.variable(f"{scope}/weights"), 1, "SAME") + self.variable(
            f"{scope}/biases"
        )

    def backbone(self, x, output_stride: int):
        x = self.convolution(x, "MobilenetV2/Conv", stride=2)
        reached, dilation = 2, 1
        for block, stride in enumerate(BLOCK_STRIDES):
            scope = "MobilenetV2/expanded_conv" + (f"_{block}" if block else "")
            inputs, here = x, dilation
            if stride == 2 and reached >= output_stride:
                stride, dilation = 1, 2 * dilation
            reached *= stride
            if block:
                x = self.convolution(x, f"{scope}/expand")
            x = self.convolution(x, f"{scope}/depthwise", stride, here)
            x = self.convolution(x, f"{scope}/project", activation=None)
            if BLOCK_STRIDES[block] == 1 and inputs.shape[-1] == x.shape[-1]:
                x = x + inputs
        return x


def classifier_graph(arrays: dict, size: int) -> tf.compat.v1.GraphDef:
    """slim's: image in [-1, 1] to probabilities."""
    with tf.Graph().as_default() as graph:
        build = _Builder(arrays)
        x = tf.compat.v1.placeholder("float32", (1, size, size, 3), name="input")
        x = build.convolution(build.backbone(x, 32), "MobilenetV2/Conv_1")
        x = tf.reduce_mean(x, (1, 2), keepdims=True)
        x = tf.squeeze(build.biased(x, "MobilenetV2/Logits/Conv2d_1c_1x1"), (1, 2))
        tf.nn.softmax(x, name="MobilenetV2/Predictions/Reshape_1")
    return graph.as_graph_def()


def segmentation_graph(arrays: dict, size: int, output_stride: int) -> tf.compat.v1.GraphDef:
    """DeepLab's: RGB bytes to a mask. The size is fixed, where the original pads to it."""
    with tf.Graph().as_default() as graph:
        build = _Builder(arrays)
        image = tf.compat.v1.placeholder("uint8", (1, size, size, 3), name="ImageTensor")
        x = tf.cast(image, "float32") * (2.0 / 255.0) - 1.0
        x = build.backbone(x, output_stride)
        head = {"epsilon": 1e-5, "activation": tf.nn.relu}
        pooled = tf.reduce_mean(x, (1, 2), keepdims=True)
        pooled = build.convolution(pooled, "image_pooling", **head)
        side = x.shape[1]
        branches = [tf.tile(pooled, (1, side, side, 1)), build.convolution(x, "aspp0", **head)]
        x = build.convolution(tf.concat(branches, -1), "concat_projection", **head)
        x = tf.nn.conv2d(x, build.variable("logits/semantic/weights"), 1, "SAME")
        x = tf.nn.bias_add(
            x, build.variable("logits/semantic/biases"), name="logits/semantic/BiasAdd"
        )
        x = tf.compat.v1.image.resize_bilinear(x, (size, size), align_corners=True)
        tf.argmax(x, -1, name="SemanticPredictions")
    return graph.as_graph_def()
