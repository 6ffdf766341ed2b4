"""Option files of BasicSR's own models pass the checks, and their misspelt keys do not."""

import copy

import pytest
import yaml
from helpers import FIXTURES

from basicsr_entropy.config import find_problems

FILES = {path.stem: path for path in (FIXTURES / 'stock_options').glob('*.yml')}


@pytest.fixture(params=FILES)
def options(request):
    return yaml.safe_load(FILES[request.param].read_text())


def test_published_keys_are_known(options):
    assert find_problems(options, is_train=True, files=False) == []


def test_every_misspelt_key_is_found(options):
    """One letter is left out of each key of the file in turn."""

    def keys_of(section, path=()):
        for key, value in section.items():
            # names of one's own: metrics, layers of a perceptual loss
            if path[-1:] in (('metrics',), ('layer_weights',), ('dist_params',)):
                continue
            yield (*path, key)
            if isinstance(value, dict):
                yield from keys_of(value, (*path, key))

    for *parents, key in keys_of(options):
        wrong = copy.deepcopy(options)
        section = wrong
        for parent in parents:
            section = section[parent]
        misspelt = f'{key[:2]}{key[3:]}' if len(key) > 3 else f'{key}x'
        section[misspelt] = section.pop(key)
        assert find_problems(wrong, is_train=True, files=False), (*parents, misspelt)
