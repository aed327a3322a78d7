"""The networks in PyTorch. Importing this package loads PyTorch through the guard."""

from frameworks import guard

guard.load_torch()
