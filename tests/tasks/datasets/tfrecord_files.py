"""TFRecords of one image with two objects each, to be damaged by tests."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tasks.common.images import encode_png


def feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if all(isinstance(item, int) for item in value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def record(**changes):
    features = {
        "image/encoded": encode_png(np.full((10, 20, 3), 9, np.uint8)),
        "image/source_id": b"42",
        "image/filename": b"a.png",
        "image/height": [10],
        "image/width": [20],
        "image/object/bbox/ymin": [0.1, 0.0],
        "image/object/bbox/xmin": [0.2, 0.0],
        "image/object/bbox/ymax": [0.6, 1.0],
        "image/object/bbox/xmax": [0.7, 1.0],
        "image/object/class/label": [18, 90],
        "image/object/area": [40.5, 100.0],
        "image/object/is_crowd": [0, 1],
    }
    features |= {f"image/{name.replace('__', '/')}": value for name, value in changes.items()}
    present = {name: feature(value) for name, value in features.items() if value is not None}
    return tf.train.Example(features=tf.train.Features(feature=present)).SerializeToString()


def write(path, *records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for item in records:
            writer.write(item)
    return str(path)
