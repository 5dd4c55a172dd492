"""Random views of training images, as slim's Inception preprocessing and its successors have them.

`image` is uint8 [height, width, 3], RGB; `seed` int32 [2].
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from unittest import mock

import tensorflow as tf

from tasks.classification.recipes import ClassificationRecipe

# slim, inception_preprocessing.py, distort_color with fast_mode, as it trains, and without. One of
# the orders is drawn.
_COLOR_ORDERS = {
    "fast": (("brightness", "saturation"),),
    "full": (
        ("brightness", "saturation", "hue", "contrast"),
        ("saturation", "brightness", "contrast", "hue"),
        ("contrast", "hue", "brightness", "saturation"),
        ("hue", "saturation", "contrast", "brightness"),
    ),
}


def random_window(
    size: tf.Tensor, seed: tf.Tensor, min_area: float = 0.08, aspect_ratio: float = 4 / 3
) -> tf.Tensor:
    """Part of an image that a random crop shows (Szegedy et al., arXiv 1409.4842, section 6).

    Args:
        size: int32 [2], height and width of the image.
        seed: int32 [2].
        min_area: smallest part of the image's area; the largest is all of it.
        aspect_ratio: largest ratio of width to height, and of height to width.

    Returns:
        int32 [4]: top, left, height, width in pixels. All of the image where no window of these
        properties was found.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([size, [3]], axis=0),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=(1 / aspect_ratio, aspect_ratio),
        area_range=(min_area, 1.0),
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], extent[:2]], axis=0)


def color_distortion(image: tf.Tensor, seed: tf.Tensor, kind: str) -> tf.Tensor:
    """Distorts the colours as slim does.

    Brightness moves by up to 32 of 255, hue by up to a fifth of the circle; saturation and contrast
    (a stretch about the mean) are multiplied by 0.5 to 1.5.

    Args:
        kind: "fast" for brightness and saturation, "full" for all, in one of four orders.
    """
    orders = _COLOR_ORDERS[kind]
    seeds = tf.random.experimental.stateless_split(seed, 5)
    steps = {
        "brightness": lambda x: tf.image.stateless_random_brightness(x, 32 / 255, seeds[0]),
        "saturation": lambda x: tf.image.stateless_random_saturation(x, 0.5, 1.5, seeds[1]),
        "hue": lambda x: tf.image.stateless_random_hue(x, 0.2, seeds[2]),
        "contrast": lambda x: tf.image.stateless_random_contrast(x, 0.5, 1.5, seeds[3]),
    }

    def in_order(order: tuple[str, ...]) -> Callable[[], tf.Tensor]:
        def distort() -> tf.Tensor:
            x = tf.image.convert_image_dtype(image, tf.float32)
            for name in order:
                x = steps[name](x)
            return x

        return distort

    choice = tf.random.stateless_uniform([], seeds[4], 0, len(orders), tf.int32)
    distorted = tf.switch_case(choice, [in_order(order) for order in orders])
    return tf.image.convert_image_dtype(distorted, tf.uint8, saturate=True)


def learned_policy(
    recipe: ClassificationRecipe,
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """RandAugment or AutoAugment of tf-models-official, as the recipe says: (image, seed) -> image.

    It is for graphs, as in `tf.data`.
    """
    # It takes a second, which only recipes with a policy need to wait.
    from official.vision.ops import augment

    if recipe.policy == "autoaugment":
        return _seeded(augment.AutoAugment(augmentation_name="v0").distort)
    # The library's lengths in pixels are meant for the usual input size.
    scale = min(recipe.height, recipe.width) / 224
    policy = augment.RandAugment(
        num_layers=recipe.policy_layers,
        magnitude=recipe.policy_magnitude,
        cutout_const=40.0 * scale,
        translate_const=100.0 * scale,
    )
    return _seeded(policy.distort)


def _seeded(
    distort: Callable[[tf.Tensor], tf.Tensor],
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """`distort` with draws that are functions of a seed, so that interrupted runs repeat them.

    The library draws by `tf.random.uniform`, whose numbers depend on the threads and on what was
    drawn before. While its graph is made, that name stands for a draw from the seed.
    """

    def seeded(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        numbers = itertools.count()

        @tf.autograph.experimental.do_not_convert
        def uniform(shape, minval=0, maxval=None, dtype=tf.float32):
            own = tf.random.experimental.stateless_fold_in(seed, next(numbers))
            return tf.random.stateless_uniform(shape, own, minval, maxval, dtype)

        with mock.patch.object(tf.random, "uniform", uniform):
            return distort(image)

    return seeded


def mixup(
    images: tf.Tensor, labels: tf.Tensor, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blends each example of a batch with another (Zhang et al., arXiv 1710.09412).

    Args:
        images: uint8 [batch, height, width, 3].
        labels: float32 [batch, classes], one-hot.
        alpha: the share of the first example has the distribution Beta(alpha, alpha).
        seed: int32 [2].

    Returns:
        images and labels, of the same shapes and dtypes.
    """
    # In float32 two draws of a small alpha would often be the smallest number both.
    alpha = tf.constant(alpha, tf.float64)
    one, other = (
        tf.random.stateless_gamma([tf.shape(images)[0]], each, alpha, dtype=tf.float64)
        for each in tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    )
    share = tf.cast(one / (one + other), tf.float32)

    def blend(x: tf.Tensor) -> tf.Tensor:
        weight = tf.reshape(share, [-1] + [1] * (x.shape.rank - 1))
        return weight * x + (1.0 - weight) * tf.reverse(x, axis=[0])

    blended = tf.round(blend(tf.cast(images, tf.float32)))
    return tf.cast(blended, tf.uint8), blend(labels)
