"""What has been looked at already: a class in several activations, and its objects."""

from collections.abc import Callable
from typing import Any

import numpy as np

from compare.adapters.build import Builder
from compare.adapters.examine import CheckedCodeError
from compare.adapters.subject import Context
from scratch.errors import UsageError

CANONICAL = ("tanh", "sigmoid", "relu")
SAME = 1e-12


class Known:
    """kinds: the classes seen so far, with a number for each of their activations."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.kinds: dict[Any, list[float]] = {}

    def again(self, builder: Builder) -> bool:
        """Whether this is an object of a class that is looked at itself, and not asked for by name."""
        return builder.fixed and builder.kind in self.kinds and not self.context.wanted

    def is_new(self, builder: Builder, number: Callable[[], float]) -> bool:
        """Whether a class knows this activation, and takes it for none that it was asked for before.

        number(): any that tells activations apart, such as a loss. The first activation of a class counts
        whatever happens, so that its failure is reported.
        """
        seen = self.kinds.setdefault(builder.kind, [])
        if not builder.options or self.context.options.get("activation"):
            seen.append(np.nan)
            return True
        first: Exception | None = None
        found = None
        for make in (builder.make, *builder.others):
            builder.make = make
            try:
                found = number()
                break
            except (CheckedCodeError, UsageError, TypeError) as error:
                first = first or error
        if found is None:
            if seen and builder.activation in CANONICAL:
                self.context.notes.append(f"{builder.label} was not checked: {first}")
            seen.append(np.nan)
            return len(seen) == 1
        new = not any(abs(found - other) <= SAME * abs(other) for other in seen)
        seen.append(found)
        return new
