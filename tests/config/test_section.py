from collections.abc import Sequence
from typing import Literal

import pytest
from basicsr.utils import registry

from basicsr_entropy.config import PositiveInteger, PositiveNumber, Probability, Section, build, construct, section_of
from basicsr_entropy.diffusion import MeanRevertingSDE, Sampler
from basicsr_entropy.losses import SpatialEntropyLoss


class Inner(Section):
    """A section in a section."""

    rate: PositiveNumber
    """Learning rate. Further words."""
    prob: Probability = 0.5
    """Probability."""


class Outer(Section):
    """A section."""

    total: PositiveInteger
    """Iterations."""
    kind: Literal['a', 'b'] = 'a'
    """Kind."""
    sizes: list[PositiveInteger] | None = None
    """Sizes."""
    on: bool = False
    """A switch."""
    inner: Inner | None = None
    """A section in it."""


def test_reads_values_and_defaults():
    options = {'total': 5e3, 'sizes': [1, 2.0], 'inner': {'rate': 1}}
    read = Outer.read(options, 'train')
    assert (read.total, read.kind, read.sizes, read.on) == (5000, 'a', [1, 2], False)
    assert isinstance(read.total, int)
    assert (read.inner.rate, read.inner.prob) == (1.0, 0.5)
    assert options == {'total': 5e3, 'sizes': [1, 2.0], 'inner': {'rate': 1}}
    with pytest.raises(ValueError, match='frozen'):
        read.total = 1


@pytest.mark.parametrize(
    ('options', 'kind', 'message'),
    [
        ({}, KeyError, 'train.total: missing; iterations'),
        ({'total': None}, KeyError, 'train.total: missing; iterations'),
        ({'total': 0}, ValueError, 'train.total: must be an integer of at least 1, got 0'),
        ({'total': 1.5}, ValueError, 'train.total: must be an integer of at least 1, got 1.5'),
        ({'total': True}, ValueError, 'train.total: must be an integer of at least 1, got true'),
        ({'total': '5'}, ValueError, "train.total: .*, got '5': it is text; write 5 without quotes"),
        ({'total': 1, 'totl': 1}, KeyError, r"train.totl: unknown option; did you mean 'total'\?"),
        ({'totl': 1}, KeyError, r"train.totl: unknown option; did you mean 'total'\? \(and 1 more\)"),
        ({'total': 1, 'kind': 'c'}, ValueError, "train.kind: must be one of a or b, got 'c'"),
        ({'total': 1, 'kind': None}, ValueError, 'train.kind: must be one of a or b, got ~'),
        ({'total': 1, 'sizes': 3}, ValueError, 'train.sizes: must be a list of integers of at least 1, got 3'),
        ({'total': 1, 'sizes': [0]}, ValueError, r'train.sizes: must be a list of integers of at least 1, got \[0\]'),
        ({'total': 1, 'on': 1}, ValueError, 'train.on: must be true or false, got 1'),
        ({'total': 1, 'inner': 1}, ValueError, 'train.inner: must be a mapping of options, got 1'),
        ({'total': 1, 'inner': {}}, KeyError, "train.inner.rate: missing; learning rate'?$"),
        ({'total': 1, 'inner': {'rate': 0}}, ValueError, 'train.inner.rate: must be a number above 0, got 0'),
        (
            {'total': 1, 'inner': {'rate': float('nan')}},
            ValueError,
            'train.inner.rate: must be a number above 0, got nan',
        ),
        ({'total': 1, 'inner': {'rate': '1e-3'}}, ValueError, 'YAML reads 1e-3 as text; write !!float 1e-3'),
        (
            {'total': 1, 'inner': {'rate': 1, 'prob': 2}},
            ValueError,
            'train.inner.prob: must be a number above 0 and at most 1, got 2',
        ),
    ],
    ids=str,
)
def test_names_the_option_and_the_remedy(options, kind, message):
    with pytest.raises(kind, match=message):
        Outer.read(options, 'train')


def test_signature_becomes_a_section():
    section = section_of(SpatialEntropyLoss)
    assert section.read({}).levels == 32
    assert section.read({'levels': [8, 16.0]}).levels == [8, 16]
    assert section.model_fields['divergence'].description.startswith('Divergence between')
    with pytest.raises(ValueError, match='levels: must be an integer or a list of integers, got 8.5'):
        section.read({'levels': 8.5})
    with pytest.raises(ValueError, match='divergence: must be one of hellinger, relative, cross or jensen_shannon'):
        section.read({'divergence': 'kl'})


@pytest.mark.parametrize('callee', [SpatialEntropyLoss, MeanRevertingSDE, Sampler], ids=lambda each: each.__name__)
def test_every_parameter_of_ours_is_described(callee):
    assert all(field.description for field in section_of(callee).model_fields.values())


def test_types_of_stock_parameters_come_from_their_defaults():
    section = section_of(registry.LOSS_REGISTRY.get('L1Loss'))
    assert section.read({'loss_weight': 2}).loss_weight == 2
    for wrong in ({'loss_weight': '2'}, {'loss_weight': True}, {'reduction': 1}):
        with pytest.raises(ValueError, match='must be'):
            section.read(wrong)


class Thing:
    """A thing.

    Args:
        size: Its size.
        parts: Its parts.
    """

    def __init__(self, size: int, parts: Sequence[int] = (1,)) -> None:
        if size % 2:
            raise ValueError(f'size: must be even, got {size}')
        self.size, self.parts = size, parts


def test_constructs_and_names_what_the_constructor_refuses():
    made = construct(Thing, {'type': 'Thing', 'parts': [2]}, 'thing', size=4)
    assert (made.size, made.parts) == (4, [2])
    with pytest.raises(ValueError, match='^thing.size: must be even, got 3'):
        construct(Thing, {'size': 3}, 'thing')


def test_integers_of_stock_classes_stay_integers():
    net = build(registry.ARCH_REGISTRY, {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1}, 'network_g')
    assert net.body[0].out_channels == 8


def test_builds_what_is_registered_and_leaves_the_options():
    options = {'type': 'L1Loss', 'loss_weight': 2}
    assert build(registry.LOSS_REGISTRY, options, 'train.pixel_opt').loss_weight == 2
    assert options == {'type': 'L1Loss', 'loss_weight': 2}
    with pytest.raises(KeyError, match="train.pixel_opt.type: no 'L1los' in the loss registry; did you mean 'L1Loss'"):
        build(registry.LOSS_REGISTRY, {'type': 'L1los'}, 'train.pixel_opt')
    with pytest.raises(KeyError, match="train.pixel_opt.los_weight: unknown option; did you mean 'loss_weight'"):
        build(registry.LOSS_REGISTRY, {'type': 'L1Loss', 'los_weight': 2}, 'train.pixel_opt')
    with pytest.raises(KeyError, match='train.x_opt.losses: missing; '):
        build(registry.LOSS_REGISTRY, {'type': 'MixedLoss'}, 'train.x_opt')
    with pytest.raises(ValueError, match='train.x_opt.levels: must be'):
        build(registry.LOSS_REGISTRY, {'type': 'SpatialEntropyLoss', 'levels': 1}, 'train.x_opt')
