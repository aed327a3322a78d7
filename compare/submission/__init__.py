"""A user's file: run under limits in a process of its own, and what it did brought back as evidence."""
