"""Why a gradient is wrong: hypotheses, each of which predicts what its mistake would give."""
