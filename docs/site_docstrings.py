"""Extension of griffe, which reads the docstrings for the API reference.

griffe knows the section `Examples`, but not its other name `Example`, nor `Options`, the section in which datasets
describe the options that they read from a mapping.
"""

import re
from typing import Any

import griffe

HEADINGS = {
    re.compile(r'^(\s*)Example:$', re.MULTILINE): r'\1Examples:',
    re.compile(r'^(\s*)Options:$', re.MULTILINE): r'\1Parameters: Options:',
}


class Headings(griffe.Extension):
    """Renames the headings of docstring sections to those that griffe knows."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of each object that has been loaded."""
        if obj.docstring is not None:
            for heading, known in HEADINGS.items():
                obj.docstring.value = heading.sub(known, obj.docstring.value)
