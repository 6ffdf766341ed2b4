"""What is told of an error. Knows nothing but Python."""


def first_line(error: Exception) -> str:
    """The first line of its message; its kind if it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
