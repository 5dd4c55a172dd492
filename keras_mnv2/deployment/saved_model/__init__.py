"""SavedModels: written, and run by plain TensorFlow."""
