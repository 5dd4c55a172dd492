"""LiteRT files (.tflite): written, looked into, and run by `ai_edge_litert`."""
