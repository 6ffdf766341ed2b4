"""Typed sections of an option file: keys, types, ranges, defaults and descriptions, each stated once.

A section that belongs to a run (`train`, `val`, `logger` ...) is a class derived from `Section`; the text below a field
is its description. A section that builds an object (a loss, a network, `sde` ...) is that object's signature:
`section_of` derives the class from its parameters and its Google docstring. Error messages, the JSON schema and the
tables of the documentation are generated from both.
"""

import functools
import inspect
import operator
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo
from typing_extensions import Self

from basicsr_entropy._checks import LARGEST_SEED
from basicsr_entropy._errors import suggestion
from basicsr_entropy._registry import PACKAGE, Registry, look_up_type

NUMBER_LIKE_TEXT = re.compile(r'[-+]?[0-9]+\.?[0-9]*[eE][-+]?[0-9]+')


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
            options: The mapping as the option file has it; None counts as empty.
            path: Where it stands in the option file, for errors; '' is the top level.

        Raises:
            KeyError: If a key is unknown or missing; the message names its path and the nearest known key.
            ValueError: If a value has the wrong type or is out of range.
        """
        options = {} if options is None else options
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            raise_first(problems_of(error, cls, options, path))

    @classmethod
    def problems(cls, options: Mapping[str, Any], path: str = '') -> list['Problem']:
        """Everything that is wrong with a mapping of options; empty if nothing is."""
        try:
            cls.model_validate(options)
        except ValidationError as error:
            return problems_of(error, cls, options, path)
        return []


class OpenSection(Section, extra='allow'):
    """A section that takes any further key."""


class Problem(NamedTuple):
    """Something wrong with an option.

    Attributes:
        path: Where it stands in the option file, e.g. 'train.optim_g.lr'.
        text: What is wrong and what to do.
        kind: Class of the error to raise for it: KeyError for unknown and missing keys.
        known: Of an unknown key, the keys that there are.
    """

    path: str
    text: str
    kind: type[Exception] = ValueError
    known: tuple[str, ...] | None = None

    def __str__(self) -> str:
        near = '' if self.known is None else suggestion(self.path.rpartition('.')[2], self.known)
        return f'{self.path}: {self.text}{near}' if self.path else self.text

    @classmethod
    def of(cls, error: Exception, path: str) -> 'Problem':
        """The problem that an error of a constructor reports, whose message begins with the argument's name."""
        message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        if message.startswith(f'{path}:') or message.startswith(f'{path}.'):
            where, _, text = message.partition(': ')
            return cls(where, text, _kind(error, text))
        match = re.match(r'(?P<field>[a-z_0-9]+(?:\[\d+\])?(?:\.[\w\[\]]+)*):? (?P<text>.*)', message, re.DOTALL)
        if match and ('must' in match['text'][:8] or message[len(match['field'])] == ':'):
            return cls(join(path, match['field']), match['text'], _kind(error, match['text']))
        return cls(path, message, type(error))


def _kind(error: Exception, text: str) -> type[Exception]:
    return KeyError if text.startswith('missing') else type(error)


def join(path: str, key: str) -> str:
    """Path of a key below a section."""
    return f'{path}.{key}' if path else key


def raise_first(problems: Sequence[Problem]) -> NoReturn:
    """Raises the error of the first problem, and says how many more there are."""
    more = f' (and {len(problems) - 1} more)' if len(problems) > 1 else ''
    raise problems[0].kind(f'{problems[0]}{more}')


# Types of fields


def _integral(value: Any) -> Any:
    """5000.0 counts as an integer: BasicSR's option files write !!float 5e3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integral)]
NonNegativeInteger = Annotated[Integer, Ge(0)]
PositiveInteger = Annotated[Integer, Ge(1)]
PositiveNumber = Annotated[float, Gt(0)]
Probability = Annotated[float, Gt(0), Le(1)]
Seed = Annotated[Integer, Ge(0), Le(LARGEST_SEED)]
Text = Annotated[str, MinLen(1)]


# Sections from signatures


@functools.cache
def section_of(
    callee: Callable[..., Any],
    without: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    any_key: bool = False,
) -> type[Section]:
    """The section whose keys are the parameters of a class or function.

    Parameters of this package's own carry their annotations and the descriptions of their docstring. Elsewhere a
    parameter's type is taken from its default, since BasicSR annotates nothing.

    Args:
        callee: The class or function.
        without: Parameters that are not options, such as the images that a metric compares.
        extra: Further keys that are allowed, of any type.
        any_key: Whether a **kwargs parameter stands for any further key.
    """
    own = (callee.__module__ or '').partition('.')[0] == PACKAGE
    hints = typing.get_type_hints(callee.__init__ if inspect.isclass(callee) else callee) if own else {}
    described = descriptions(callee) if own else {}
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(callee).parameters.items():
        if name in without or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = hints[name] if name in hints else _type_of_default(parameter.default)
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (_strict_integers(annotation), FieldInfo(default=default, description=described.get(name)))
    fields |= {name: (Any, None) for name in extra if name not in fields}
    takes_any = any_key and any(each.kind is each.VAR_KEYWORD for each in inspect.signature(callee).parameters.values())
    section = create_model(callee.__name__, __base__=OpenSection if takes_any else Section, **fields)
    section.__doc__ = (inspect.getdoc(callee) or '').partition('\n')[0]
    return section


def _type_of_default(default: Any) -> Any:
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
    """The annotation with `Integer` for int, so that 5000.0 counts as one inside unions and sequences too."""
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


# Messages


def problems_of(error: ValidationError, section: type[Section], options: Mapping[str, Any], path: str) -> list[Problem]:
    """One problem per option that pydantic refuses, in this package's words."""
    found: dict[str, Problem] = {}
    for each in error.errors():
        owner, field, keys = _locate(section, each['loc'])
        where = functools.reduce(_join_location, keys, path)
        if each['type'] == 'extra_forbidden':
            problem = Problem(where, 'unknown option', KeyError, tuple(owner.model_fields))
        elif field and field.is_required() and _value(options, keys) is None:
            problem = Problem(where, f'missing; {_as_clause(field.description or "it is required")}', KeyError)
        elif each['type'] == 'value_error':
            problem = Problem.of(each['ctx']['error'], where)
        else:
            value = _value(options, keys)
            wanted = wanted_value(field) if field else 'a mapping of options'
            problem = Problem(where, f'must be {wanted}, got {_shown(value)}{_remedy(value)}')
        found.setdefault(problem.path, problem)
    # an unknown key is often the misspelling of one that is then missing
    return sorted(found.values(), key=lambda problem: problem.known is None)


def _value(options: Any, keys: Sequence[Any]) -> Any:
    for key in keys:
        options = options.get(key) if isinstance(options, Mapping) else options[key]
    return options


def _join_location(path: str, key: Any) -> str:
    return f'{path}[{key}]' if isinstance(key, int) else join(path, str(key))


def _locate(section: type[Section], location: tuple) -> tuple[type[Section], FieldInfo | None, list]:
    """The section and the field at a location of pydantic's, and the keys up to the field.

    What follows in the location lies inside the field's value: branches of unions, items of lists.
    """
    owner, keys = section, []
    for index, key in enumerate(location):
        keys.append(key)
        field = owner.model_fields.get(key) if isinstance(key, str) else None
        if field is None:
            return owner, None, keys
        inner = inner_section(field)
        if inner is None or index + 1 == len(location):
            return owner, field, keys
        owner = inner
    return owner, None, keys


def inner_section(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds, also where it may be left empty."""
    for each in (field.annotation, *get_args(field.annotation)):
        if inspect.isclass(each) and issubclass(each, Section):
            return each
    return None


def section_at(section: type[Section], *keys: str) -> type[Section]:
    """The section that is reached from another through the fields of these names."""
    for key in keys:
        inner = inner_section(section.model_fields[key])
        if inner is None:
            raise TypeError(f'{section.__name__}.{key} holds no section')
        section = inner
    return section


def wanted_value(field: FieldInfo) -> str:
    """What a field takes, in words: 'an integer of at least 1', 'one of a, b or c'."""
    return _in_words(Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation)


def _in_words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _in_words(arguments[0]) + _bounds(arguments[1:])
    if origin is Literal:
        # every alternative as YAML has it
        return ('one of ' if len(arguments) > 1 else '') + _listed(map(as_yaml, arguments))
    if isinstance(annotation, types.UnionType) or origin is Union:
        return ' or '.join(_in_words(each) for each in arguments if each is not type(None))
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Mapping):
        return 'a mapping'
    if origin in (tuple, list) or (inspect.isclass(origin) and issubclass(origin, Sequence)):
        if origin is tuple and len(arguments) == 2 and arguments[1] is not ...:
            return 'a list of two numbers'
        item = _plural(arguments[0]) if arguments else ''
        return f'a list{f" of {item}" if item else ""}'
    names = {int: 'an integer', float: 'a number', bool: 'true or false', str: 'text', list: 'a list', Any: 'a value'}
    if inspect.isclass(annotation) and issubclass(annotation, Section):
        return 'a mapping of options'
    return names.get(annotation, getattr(annotation, '__name__', str(annotation)))


def _plural(annotation: Any) -> str:
    words = _in_words(annotation)
    for singular, plural in (
        ('an integer', 'integers'),
        ('a number', 'numbers'),
        ('a list', 'lists'),
        ('text', 'texts'),
    ):
        if words.startswith(singular):
            return plural + words.removeprefix(singular)
    return words


def _bounds(metadata: Iterable[Any]) -> str:
    """'of at least 1', 'above 0 and at most 1'; empty without bounds."""
    words = []
    for each in metadata:
        for kind, name, word in (
            (Ge, 'ge', 'at least'),
            (Gt, 'gt', 'above'),
            (Le, 'le', 'at most'),
            (Lt, 'lt', 'below'),
        ):
            if isinstance(each, kind):
                words.append(f'{word} {getattr(each, name)}')
    text = ' and '.join(words)
    return f' of {text}' if text.startswith('at ') else f' {text}' if text else ''


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f'{", ".join(most)} or {last}' if most else last


def as_yaml(value: Any) -> str:
    return '~' if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return as_yaml(value)
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def _remedy(value: Any) -> str:
    """What to do about a number that YAML reads as text, also in a list."""
    texts = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    for text in texts:
        if NUMBER_LIKE_TEXT.fullmatch(text):
            return f': YAML reads {text} as text; write !!float {text}'
        if re.fullmatch(r'[-+]?[0-9]*\.?[0-9]+', text):
            return f': it is text; write {text} without quotes'
    return ''


def _as_clause(description: str) -> str:
    first = description.partition('. ')[0].rstrip('.')
    return first[0].lower() + first[1:] if first[:2] != first[:2].upper() else first


# Objects from sections


def construct(callee: Callable[..., Any], options: Mapping[str, Any] | None, path: str, **given: Any) -> Any:
    """Calls a class or function of this package with options as its arguments; the options stay as they are.

    Args:
        callee: The class or function.
        options: The mapping of the option file; a key `type` is not an argument.
        path: Where it stands in the option file, for errors.
        **given: Arguments that are not options.

    Raises:
        KeyError: If a key is unknown or missing.
        ValueError: If a value has the wrong type or is refused; the message begins with the path of the option.
    """
    asked = {key: value for key, value in (options or {}).items() if key != 'type'}
    section = section_of(callee, without=tuple(given), any_key=True).read(asked, path)
    try:
        return callee(**given, **{key: getattr(section, key) for key in asked})
    except (KeyError, TypeError, ValueError) as error:
        problem = Problem.of(error, path)
        raise problem.kind(str(problem)) from error


def build(registry: Registry, options: Mapping[str, Any], path: str) -> Any:
    """Constructs what options['type'] names in a registry, with the other options as its arguments.

    Args:
        registry: One of BasicSR's registries.
        options: A mapping with 'type' and the arguments; stays as it is.
        path: Where the options stand in the option file, for errors.

    Raises:
        KeyError: If the type or an option is unknown, or one is missing.
        ValueError: If a value has the wrong type or is refused; the message begins with the path of the option.
    """
    return construct(look_up_type(registry, options, path), options, path)
