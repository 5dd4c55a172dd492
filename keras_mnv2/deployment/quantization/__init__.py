"""LiteRT files in 8 bits: calibration, correction of biases, where the error arises."""
