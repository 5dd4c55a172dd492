"""Object detection with SSDLite: recipes, data, training, evaluation, prediction."""
