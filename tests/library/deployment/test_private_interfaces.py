"""What exports use of other packages that is no public name: a new version may lack it.

If one of these fails, quantization, or looking into LiteRT files, must be changed for that version.
"""

from __future__ import annotations

import inspect

import pytest


def test_the_quantizer_of_tensorflow():
    """For `keras_mnv2.deployment.quantization.quantize`."""
    from tensorflow.lite.python.convert import mlir_quantize

    used = {
        "input_data_type",
        "output_data_type",
        "enable_numeric_verify",
        "enable_whole_model_verify",
        "denylisted_nodes",
        "denylisted_ops",
    }
    assert used <= set(inspect.signature(mlir_quantize).parameters)


def test_the_tables_of_litert_files():
    """For `keras_mnv2.deployment.litert.file`, which all LiteRT exports need."""
    from tensorflow.lite.python import schema_py_generated as schema

    tables = {"ModelT", "MetadataT", "BufferT", "QuantizationParametersT", "OperatorCodeT"}
    assert tables <= set(vars(schema))
    assert callable(schema.ModelT.InitFromObj) and callable(schema.Model.GetRootAs)
    fields = {"operatorCodes", "subgraphs", "buffers", "metadata", "signatureDefs"}
    assert fields <= set(vars(schema.ModelT()))
    assert schema.BuiltinOperator.CUSTOM and schema.TensorType.INT8


def test_the_interpreter_of_litert():
    """For `keras_mnv2.deployment.litert.arena` and for quantization."""
    litert = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="the runtime is absent: pip install ai-edge-litert"
    )
    assert callable(litert.Interpreter._get_ops_details)
    used = {"experimental_op_resolver_type", "experimental_preserve_all_tensors"}
    assert used <= set(inspect.signature(litert.Interpreter).parameters)
    assert litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
