"""Models as files for phones and servers: LiteRT, SavedModel, ONNX.

A program (`classification_program`, `detection_program`, `segmentation_program`) is a network with
what is computed from its outputs; `export_litert`, `export_saved_model` and `export_onnx` write it
to a file that is proven to give the same answers; `load` runs any of them.
"""

from __future__ import annotations

import importlib

# Imported when first used: converters and runtimes take seconds, and the packages of ONNX and
# LiteRT are extras.
_MODULES = {
    "Description": "description",
    "DeploymentError": "description",
    "sidecar_path": "description",
    "Program": "programs",
    "classification_program": "programs",
    "detection_program": "programs",
    "segmentation_program": "programs",
    "Export": "staging",
    "export_litert": "litert.export",
    "quantize": "quantization.quantize",
    "layer_errors": "quantization.layer_report",
    "format_layer_errors": "quantization.layer_report",
    "export_saved_model": "saved_model.export",
    "export_onnx": "onnx.export",
    "DeployedModel": "running",
    "format_of": "file_format",
    "load": "running",
    "split_expansion": "expansion.splitting",
    "ways_to_fit": "expansion.splitting",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
