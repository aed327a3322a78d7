"""The networks in Keras on TensorFlow. Importing this package loads both through the guard."""

from frameworks import guard

guard.load_keras()
