"""Networks with hand-written gradients in NumPy, and what every backend shares."""
