"""Typed sections of an option file: keys, types, ranges, defaults and descriptions, each stated once.

The sections of a run (`train`, `val`, `logger` ...) are classes derived from `Section`; the string below a field is its
description. For a section that describes an object (a loss, a network, `sde` ...), `section_of` derives the class from
the signature and the Google docstring of the object's class. Error messages, the JSON schema and the tables of the
documentation are generated from both.
"""

import ast
import functools
import inspect
import operator
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo
from typing_extensions import Self

from basicsr_entropy._checks import LARGEST_SEED
from basicsr_entropy._registry import Registry, is_own, look_up_type
from basicsr_entropy.config.problems import Problem, inner_model, problems_of, raise_first


class Section(BaseModel):
    """A mapping of an option file whose keys, types and ranges are checked strictly; instances are immutable."""

    model_config = ConfigDict(
        extra='forbid',
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )

    @classmethod
    def read(cls, options: Mapping[str, Any] | None, path: str = '') -> Self:
        """Checks a mapping of options and returns it with its defaults.

        Args:
            options: Content of the section in the option file; None counts as empty.
            path: Path of the section in the option file, for error messages; '' is the top level.

        Raises:
            KeyError: If a key is unknown or missing; the message names its path and the most similar known key.
            ValueError: If a value has the wrong type or is out of range.
        """
        options = {} if options is None else options
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            raise_first(problems_of(error, cls, options, path))

    @classmethod
    def problems(cls, options: Mapping[str, Any], path: str = '') -> list[Problem]:
        """All problems with a mapping of options."""
        try:
            cls.model_validate(options)
        except ValidationError as error:
            return problems_of(error, cls, options, path)
        return []


class OpenSection(Section, extra='allow'):
    """A section that allows further keys."""


def section_at(section: type[Section], *keys: str) -> type[Section]:
    """The section at a path of keys below another section."""
    for key in keys:
        inner = inner_model(section.model_fields[key])
        if inner is None or not issubclass(inner, Section):
            raise TypeError(f'{section.__name__}.{key} is not a section')
        section = inner
    return section


# Types of fields


def _integral(value: Any) -> Any:
    """Converts floats such as 5000.0, since option files of BasicSR write !!float 5e3 for integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integral)]
NonNegativeInteger = Annotated[Integer, Ge(0)]
PositiveInteger = Annotated[Integer, Ge(1)]
PositiveNumber = Annotated[float, Gt(0)]
Probability = Annotated[float, Gt(0), Le(1)]
Seed = Annotated[Integer, Ge(0), Le(LARGEST_SEED)]
Text = Annotated[str, MinLen(1)]
# sums of squared gradients, which optimizers and clipping take, stay within float32 even for millions of parameters
LARGEST_WEIGHT = 1e12
LossWeight = Annotated[float, Ge(-LARGEST_WEIGHT), Le(LARGEST_WEIGHT)]
Reduction = Literal['none', 'mean', 'sum']


# Sections from signatures


@functools.cache
def section_of(
    callee: Callable[..., Any],
    without: tuple[str, ...] = (),
    extra: tuple[tuple[str, Any], ...] = (),
    any_key: bool = False,
) -> type[Section]:
    """Derives a section from the signature of a class or function.

    For callables of this package, types and descriptions come from annotations and docstring. For others, types come
    from the defaults, since BasicSR has no annotations.

    Args:
        callee: The class or function.
        without: Parameters that are not options, such as the images that a metric compares.
        extra: Further keys that are allowed, with their types.
        any_key: Whether a **kwargs parameter allows any further key; one that is not used does not.
    """
    own = is_own(callee)
    hints = typing.get_type_hints(callee.__init__ if inspect.isclass(callee) else callee) if own else {}
    described = descriptions(callee) if own else {}
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(callee).parameters.items():
        if name in without or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = hints[name] if name in hints else _type_of_default(name, parameter.default)
        default = ... if parameter.default is parameter.empty else parameter.default
        is_weight = annotation is float and name.endswith('_weight')
        kind = LossWeight if is_weight else _strict_integers(annotation)
        fields[name] = (kind, FieldInfo(default=default, description=described.get(name)))
    fields |= {name: (annotation, None) for name, annotation in extra if name not in fields}
    takes_any = any_key and _uses_keywords(callee)
    section = create_model(callee.__name__, __base__=OpenSection if takes_any else Section, **fields)
    section.__doc__ = (inspect.getdoc(callee) or '').partition('\n')[0]
    return section


def _uses_keywords(callee: Callable[..., Any]) -> bool:
    """Whether a class or function has a parameter **kwargs, and its source mentions it again."""
    keywords = [each for each in inspect.signature(callee).parameters.values() if each.kind is each.VAR_KEYWORD]
    if not keywords:
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(callee.__init__ if inspect.isclass(callee) else callee)))
    except (OSError, TypeError, SyntaxError):  # no source
        return True
    return any(isinstance(node, ast.Name) and node.id == keywords[0].name for node in ast.walk(tree))


def _type_of_default(name: str, default: Any) -> Any:
    if name == 'reduction' and default in get_args(Reduction):
        return Reduction
    if isinstance(default, bool):
        return bool
    if isinstance(default, (int, float)):
        return float
    if isinstance(default, str):
        return str | None
    if isinstance(default, (list, tuple)):
        return list | None
    return Any


def _strict_integers(annotation: Any) -> Any:
    """Replaces int by `Integer` in an annotation, also inside unions and sequences."""
    if annotation is int:
        return Integer
    arguments = get_args(annotation)
    if not arguments or get_origin(annotation) is Literal:
        return annotation
    replaced = tuple(_strict_integers(each) for each in arguments)
    if isinstance(annotation, types.UnionType) or get_origin(annotation) is Union:
        return functools.reduce(operator.or_, replaced)
    return annotation.copy_with(replaced) if hasattr(annotation, 'copy_with') else get_origin(annotation)[replaced]


def descriptions(callee: Callable[..., Any]) -> dict[str, str]:
    """Descriptions of the parameters from the sections Args and Attributes of a Google docstring."""
    doc = inspect.getdoc(callee) or ''
    if inspect.isclass(callee):
        doc += '\n\n' + (inspect.getdoc(callee.__init__) or '')
    found: dict[str, str] = {}
    for block in re.findall(r'^(?:Args|Attributes):\n((?:[ ]{4}.*\n?|\n)+)', doc, re.MULTILINE):
        for names, text in re.findall(r'^ {4}(\w[\w, ]*): (.*(?:\n {5,}.*)*)', block, re.MULTILINE):
            found |= {name: ' '.join(text.split()) for name in names.split(', ')}
    return found


def make_integers(section: type[Section], options: dict[str, Any]) -> None:
    """Replaces floats such as 5000.0 in place where a section takes integers, also in the sections inside it.

    BasicSR hands options on as the file has them, and such a float fails where it counts something.
    """
    for key, field in section.model_fields.items():
        value, inner = options.get(key), inner_model(field)
        if isinstance(value, dict) and inner is not None and issubclass(inner, Section):
            make_integers(inner, value)
        elif any(isinstance(each, float) for each in (value if isinstance(value, list) else [value])):
            with suppress(ValidationError):  # which is for the checks to tell
                options[key] = TypeAdapter(field.rebuild_annotation()).validate_python(value)


# Objects from sections


def construct(callee: Callable[..., Any], options: Mapping[str, Any] | None, path: str, **given: Any) -> Any:
    """Calls a class or function with options as its arguments.

    Args:
        callee: The class or function.
        options: Content of a section; a key `type` is not passed on. Not changed.
        path: Path of the section in the option file, for error messages.
        **given: Arguments that are not options.

    Raises:
        KeyError: If a key is unknown or missing.
        ValueError: If a value has the wrong type or is out of range; the message begins with the path of the option.
    """
    if not isinstance(options, Mapping | None):
        raise ValueError(f'{path}: must be a mapping of options, got {options!r}')
    asked = {key: value for key, value in (options or {}).items() if key != 'type'}
    asked = converted(callee, asked, path, tuple(given))
    try:
        return callee(**given, **asked)
    except (KeyError, TypeError, ValueError) as error:
        problem = Problem.of(error, path)
        raise problem.kind(str(problem)) from error


def converted(
    callee: Callable[..., Any], options: Mapping[str, Any], path: str, without: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Options as arguments of a class or function: 5e3 as an integer where one of this package wants that.

    Of other packages it is not known which numbers are to be integers. Arguments and errors as in `construct`, with
    `without` for the names of arguments that are not options.
    """
    section = section_of(callee, without=without, any_key=True).read(options, path)
    return {key: getattr(section, key) for key in options} if is_own(callee) else dict(options)


def build(registry: Registry, options: Mapping[str, Any], path: str) -> Any:
    """Constructs an entry of a registry: the one that options['type'] names, with the other options as arguments.

    Args:
        registry: One of BasicSR's registries.
        options: Content of a section: `type` and the arguments. Not changed.
        path: Path of the section in the option file, for error messages.

    Raises:
        KeyError: If the type or an option is unknown, or one is missing.
        ValueError: If a value has the wrong type or is out of range; the message begins with the path of the option.
    """
    return construct(look_up_type(registry, options, path), options, path)
