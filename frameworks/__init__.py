"""PyTorch and Keras references, each written as a native user would write it."""
