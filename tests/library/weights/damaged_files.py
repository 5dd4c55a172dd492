"""The list of damaged files, and the healthy ones that they are made from."""

from __future__ import annotations

from pathlib import Path

from weight_files import graph_def, tf1_arrays, write_checkpoint, write_h5

CASES = {}


def case(message: str):
    """Registers a function (folder, maker) -> path of a file that must fail with `message`."""

    def register(function):
        CASES[function.__name__] = (function, message)
        return function

    return register


class Maker:
    """The healthy files that the cases damage, of a small classifier."""

    def __init__(self, network, folder: Path) -> None:
        self.network, self.folder = network, folder
        self.case = network("MobileNetV2")
        self.tf1 = tf1_arrays(self.case.model, self.case.arrays)
        self.graph = graph_def(self.tf1).SerializeToString()

    def checkpoint(self, arrays=None) -> Path:
        return write_checkpoint(self.folder / "model.ckpt", self.tf1 if arrays is None else arrays)

    def h5(self) -> Path:
        return write_h5(self.folder / "weights.h5", self.case.model, self.case.arrays)

    def write(self, data: bytes, name: str = "graph.pb") -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def graph_with(self, change) -> Path:
        graph = graph_def(self.tf1)
        change({node.name: node for node in graph.node}, graph)
        return self.write(graph.SerializeToString())


def cut(path: Path, keep: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


KERNEL = "MobilenetV2/Conv_1/weights"
