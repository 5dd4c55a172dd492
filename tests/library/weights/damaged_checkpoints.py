"""Damaged and foreign checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from damaged_files import KERNEL, case, cut
from weight_files import write_checkpoint


@case("one of them is missing")
def checkpoint_without_data(make):
    prefix = make.checkpoint()
    Path(f"{prefix}.data-00000-of-00001").unlink()
    return prefix


@case("no such file")
def checkpoint_without_index(make):
    prefix = make.checkpoint()
    Path(f"{prefix}.index").unlink()
    return prefix


@case("cut short")
def checkpoint_with_truncated_data(make):
    prefix = make.checkpoint()
    cut(Path(f"{prefix}.data-00000-of-00001"), 0.5)
    return prefix


@case("not a readable TensorFlow checkpoint")
def checkpoint_with_truncated_index(make):
    prefix = make.checkpoint()
    cut(Path(f"{prefix}.index"), 0.5)
    return prefix


@case("not a readable TensorFlow checkpoint")
def checkpoint_with_a_text_index(make):
    prefix = make.checkpoint()
    Path(f"{prefix}.index").write_text("index\n" * 100)
    return prefix


@case("cannot read MobilenetV2/")
def checkpoint_with_flipped_bits(make):
    prefix = make.checkpoint()
    path = Path(f"{prefix}.data-00000-of-00001")
    data = np.frombuffer(path.read_bytes(), "uint8").copy()
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data.tobytes())
    return prefix


@case("missing in the file .1.: block_3_project_BN/beta")
def checkpoint_without_a_variable(make):
    name = "MobilenetV2/expanded_conv_3/project/BatchNorm/beta"
    return make.checkpoint({k: v for k, v in make.tf1.items() if k != name})


@case("left over in the file")
def checkpoint_with_an_unknown_optimizer(make):
    return make.checkpoint({**make.tf1, f"{KERNEL}/MyOptimizer": make.tf1[KERNEL]})


@case("TensorFlow 2 object checkpoint")
def checkpoint_of_tensorflow_2(make):
    variable = tf.Variable(tf.ones([2]))
    return tf.train.Checkpoint(v=variable).write(str(make.folder / "tf2"))


@case("holds several checkpoints")
def folder_with_several_checkpoints(make):
    write_checkpoint(make.folder / "first.ckpt", make.tf1)
    write_checkpoint(make.folder / "second.ckpt", make.tf1)
    return make.folder


@case("not a readable TensorFlow checkpoint")
def checkpoint_with_a_damaged_footer(make):
    prefix = make.checkpoint()
    path = Path(f"{prefix}.index")
    data = bytearray(path.read_bytes())
    # The place of the index block, as if it were terabytes long.
    data[-48:-28] = b"\x00\xff\xff\xff\xff\xff\x7f" + bytes(13)
    path.write_bytes(data)
    return prefix
