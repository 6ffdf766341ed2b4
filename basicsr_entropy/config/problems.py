"""Problems with options: where they are, what is wrong, and what to do, in one line each.

pydantic finds what is wrong with a section; `problems_of` words it, with the path of the option in the file, the
values that it takes, and the most similar key for an unknown one.
"""

import functools
import inspect
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from basicsr_entropy._errors import message_of, suggestion

NUMBER_LIKE_TEXT = re.compile(r'[-+]?[0-9]+\.?[0-9]*[eE][-+]?[0-9]+')


class Problem(NamedTuple):
    """Something wrong with an option.

    Attributes:
        path: Path of the option in the option file, e.g. 'train.optim_g.lr'.
        text: What is wrong and what to do.
        kind: Class of the error to raise: KeyError for unknown and missing keys.
        known: For an unknown key, the known keys.
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
        """The problem that an error reports.

        Args:
            error: Error whose message begins with the name of an argument, or with `path`.
            path: Path of the options that were passed as arguments.
        """
        message = message_of(error).partition('\n')[0]  # torch appends a trace of its own
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


def problems_of(
    error: ValidationError, section: type[BaseModel], options: Mapping[str, Any], path: str
) -> list[Problem]:
    """Words the errors of pydantic, one problem per option.

    Args:
        error: What pydantic found.
        section: The section that was read.
        options: The options that were read.
        path: Path of the section in the option file.

    Returns:
        Unknown keys first: a key that is unknown is often the misspelling of one that is then missing.
    """
    found: dict[str, Problem] = {}
    for each in error.errors():
        owner, field, keys = _locate(section, each['loc'])
        where = functools.reduce(_join_location, keys, path)
        if each['type'] == 'extra_forbidden':
            problem = Problem(where, 'unknown option', KeyError, tuple(owner.model_fields))
        elif field and field.is_required() and _value(options, keys) is None:
            problem = Problem(where, missing(field), KeyError)
        elif each['type'] == 'value_error':
            problem = Problem.of(each['ctx']['error'], where)
        else:
            value = _value(options, keys)
            wanted = wanted_value(field) if field else 'a mapping of options'
            problem = Problem(where, f'must be {wanted}, got {_shown(value)}{_remedy(value)}')
        found.setdefault(problem.path, problem)
    return sorted(found.values(), key=lambda problem: problem.known is None)


def _value(options: Any, keys: Sequence[Any]) -> Any:
    for key in keys:
        options = options.get(key) if isinstance(options, Mapping) else options[key]
    return options


def _join_location(path: str, key: Any) -> str:
    return f'{path}[{key}]' if isinstance(key, int) else join(path, str(key))


def _locate(section: type[BaseModel], location: tuple) -> tuple[type[BaseModel], FieldInfo | None, list]:
    """The section and the field at a location in an error of pydantic, and the keys up to the field.

    The rest of the location is inside the value of the field: branches of unions, items of lists.
    """
    owner, keys = section, []
    for index, key in enumerate(location):
        keys.append(key)
        field = owner.model_fields.get(key) if isinstance(key, str) else None
        if field is None:
            return owner, None, keys
        inner = inner_model(field)
        if inner is None or index + 1 == len(location):
            return owner, field, keys
        owner = inner
    return owner, None, keys


def inner_model(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field contains, also if the field is optional; None if it contains none."""
    for each in (field.annotation, *get_args(field.annotation)):
        if inspect.isclass(each) and issubclass(each, BaseModel):
            return each
    return None


def paths_of(key: str, section: type[BaseModel], path: str = '') -> Iterator[str]:
    """Paths of a key in a section and in the sections that it contains."""
    for name, field in section.model_fields.items():
        if name == key:
            yield join(path, name)
        inner = inner_model(field)
        if inner is not None:
            yield from paths_of(key, inner, join(path, name))


def wanted_value(field: FieldInfo) -> str:
    """Values that a field takes, in words: 'an integer of at least 1', 'one of a, b or c'."""
    return _counted(_in_words(field.annotation), field.metadata) + _bounds(field.metadata)


def _in_words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _counted(_in_words(arguments[0]), arguments[1:]) + _bounds(arguments[1:])
    if origin is Literal:
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
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return 'a mapping of options'
    return names.get(annotation, getattr(annotation, '__name__', str(annotation)))


def _plural(annotation: Any) -> str:
    words = _in_words(annotation)
    for singular, plural in (
        ('an integer', 'integers'),
        ('a number', 'numbers'),
        ('a list', 'lists'),
        ('a mapping', 'mappings'),
        ('text', 'texts'),
    ):
        if words.startswith(singular):
            return plural + words.removeprefix(singular)
    return words


def _counted(words: str, metadata: Iterable[Any]) -> str:
    """'a list of 2 numbers' for 'a list of numbers' of that length."""
    for each in metadata:
        if isinstance(each, Len) and each.min_length == each.max_length:
            return words.replace('a list of ', f'a list of {each.min_length} ', 1)
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
                bound = getattr(each, name)
                words.append(f'{word} {bound:g}' if isinstance(bound, float) else f'{word} {bound}')
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
    """The remedy for a number that YAML reads as text, also in a list; empty for other values."""
    texts = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    for text in texts:
        if NUMBER_LIKE_TEXT.fullmatch(text):
            return f': YAML reads {text} as text; write !!float {text}'
        if re.fullmatch(r'[-+]?[0-9]*\.?[0-9]+', text):
            return f': it is text; write {text} without quotes'
    return ''


def missing(field: FieldInfo) -> str:
    """What to say of a required key that is missing: 'missing' and its description's first sentence."""
    text = ' '.join((field.description or 'it is required').split())
    first = re.split(r'\. (?=[A-Z`])', text, maxsplit=1)[0].rstrip('.')
    return f'missing; {first if first[:2].isupper() else first[:1].lower() + first[1:]}'
