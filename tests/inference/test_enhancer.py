import warnings

import numpy as np
import pytest
import torch
import yaml
from helpers import photograph, train_options
from PIL import Image

from basicsr_entropy.data.datasets.degradation import LowLightDegradation
from basicsr_entropy.data.datasets.demo_photographs import read_photograph
from basicsr_entropy.diffusion import SAMPLERS, Condition, Sampler, sample
from basicsr_entropy.diffusion.tiling import Tiling
from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.pretrained import write_pretrained


@pytest.fixture
def image():
    return torch.from_numpy(photograph(1)).permute(2, 0, 1)[None].float() / 255 / 8


def test_result_is_a_sample_of_the_model(pretrained, image):
    enhancer = Enhancer(pretrained, seed=3, device='cpu')
    draw = torch.Generator().manual_seed(3)
    expected = sample(enhancer.process, enhancer.net, image, Sampler(steps=2), generator=draw).clamp(0, 1)
    assert torch.equal(enhancer(image), expected)
    assert torch.equal(enhancer(image), expected)  # the seed applies to each image
    assert not torch.equal(Enhancer(pretrained, seed=4, device='cpu')(image), expected)


@pytest.mark.parametrize('tile', [None, Tiling(24, 8)])
def test_tiles_are_lifted_as_the_whole_image_is(pretrained, image, tile):
    condition, seen = {'lift': 'auto', 'mean': 0.4}, []
    enhancer = Enhancer(pretrained._replace(sde={**pretrained.sde, 'condition': condition}), tile=tile)
    enhancer.net.register_forward_hook(lambda net, inputs, output: seen.append(inputs[1].clone()))
    enhancer(image)
    whole = Condition(**condition)(image)
    assert whole.mean().item() == pytest.approx(0.4, abs=0.01)
    torch.testing.assert_close(seen[0][..., :16, :16], whole[..., :16, :16])


def test_noise_does_not_depend_on_the_batch(pretrained, image):
    enhancer = Enhancer(pretrained, seed=3, device='cpu')
    other = image.flip(-1)
    batch = enhancer(torch.cat((other, image, image)))
    torch.testing.assert_close(batch[1], batch[2])
    torch.testing.assert_close(batch[1:2], enhancer(image))
    torch.testing.assert_close(batch[:1], enhancer(other))


def test_every_kind_of_image_gives_the_same_result(pretrained):
    enhancer, image = Enhancer(pretrained), photograph(1) // 8
    from_array = enhancer(image)
    assert (from_array.dtype, from_array.shape) == (image.dtype, image.shape)
    from_pil = enhancer(Image.fromarray(image))
    assert np.array_equal(np.asarray(from_pil), from_array)
    floats = enhancer(image.astype(np.float32) / 255)
    assert np.array_equal((floats * 255).round().astype(np.uint8), from_array)
    deep = enhancer(image.astype(np.uint16) * 257)
    np.testing.assert_allclose(deep / 257, from_array, atol=0.51)


@pytest.mark.parametrize(
    'options',
    [
        {'tile': {'size': 24, 'overlap': 8}},
        {'tile': Tiling(24, 8, 'interlace')},
        {'tile': {'size': 24, 'overlap': 0, 'mode': 'downscale'}},
        {'self_ensemble': True},
        {'dtype': 'bf16'},
        {'channels_last': False},
        *({'sampler': name, 'steps': 5} for name in SAMPLERS if name != 'posterior'),
    ],
    ids=str,
)
def test_options_take_effect(pretrained, image, options):
    plain, changed = Enhancer(pretrained)(image), Enhancer(pretrained, **options)(image)
    assert changed.shape == image.shape
    assert torch.isfinite(changed).all()
    if options != {'channels_last': False}:
        assert not torch.equal(plain, changed)
    torch.testing.assert_close(changed.mean(), plain.mean(), rtol=0.5, atol=0.2)


def test_default_steps_apply_to_the_default_sampler_only(pretrained):
    assert Enhancer(pretrained).sampler == Sampler('posterior', steps=2)
    assert Enhancer(pretrained, sampler='posterior').sampler.steps == 2
    assert Enhancer(pretrained, steps=3).sampler.steps == 3
    assert Enhancer(pretrained, sampler='ode').sampler == Sampler('ode', steps=10)


def test_warns_of_a_sampler_that_needs_more_steps(pretrained):
    with pytest.warns(UserWarning, match='^steps: sde needs most of the 10 timesteps of the process, got 4; for few'):
        Enhancer(pretrained, sampler='sde', steps=4)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        Enhancer(pretrained, sampler='sde', steps=5)
        enhancer = Enhancer(pretrained, sampler='mr_sde', steps=1)
    with pytest.warns(UserWarning, match='^steps: ode needs'):
        enhancer.changed(sampler='ode', steps=1)


def test_changed_enhancers_share_the_network(pretrained, image):
    enhancer = Enhancer(pretrained, seed=3)
    changed = enhancer.changed(sampler='mr_ode', steps=4)
    assert (changed.changed(seed=1).sampler, changed.changed(seed=1).seed) == (Sampler('mr_ode', steps=4), 1)
    assert changed.changed(steps=2).sampler == Sampler('mr_ode', steps=2)
    assert changed.changed(sampler='ode').sampler == Sampler('ode', steps=10)
    assert changed.net is enhancer.net
    assert torch.equal(changed(image), Enhancer(pretrained, seed=3, sampler='mr_ode', steps=4)(image))
    assert torch.equal(enhancer.changed(seed=5)(image), Enhancer(pretrained, seed=5)(image))
    assert torch.equal(enhancer(image), Enhancer(pretrained, seed=3)(image))
    with pytest.raises(ValueError, match='^steps: must be at most 10, the timesteps of the process, got 11'):
        enhancer.changed(steps=11)
    with pytest.raises(ValueError, match='seed: must be an integer from 0'):
        enhancer.changed(seed=-1)


def test_an_error_before_an_evaluation_ends_the_sampling(pretrained, image):
    calls = []

    def stop_at_the_fifth():
        calls.append(1)
        if len(calls) == 5:
            raise InterruptedError('stop')

    with pytest.raises(InterruptedError, match='stop'):
        Enhancer(pretrained, tile={'size': 24, 'overlap': 8})(image, before_evaluation=stop_at_the_fifth)
    assert len(calls) == 5  # the first step alone has more tiles
    whole = Enhancer(pretrained)(image, before_evaluation=calls.clear)
    assert torch.equal(whole, Enhancer(pretrained)(image))


def test_model_files_need_no_option_file(pretrained, image, tmp_path):
    options = train_options(tmp_path)
    torch.save({'params': pretrained.weights}, tmp_path / 'net.pth')
    write_pretrained(options, tmp_path / 'net.pth', tmp_path / 'tiny.safetensors')
    (tmp_path / 'tiny.yml').write_text(yaml.safe_dump(options))
    expected = Enhancer(pretrained)(image)
    for path, given in (('tiny.safetensors', None), ('net.pth', options), ('net.pth', tmp_path / 'tiny.yml')):
        assert torch.equal(Enhancer.from_pretrained(tmp_path / path, options=given)(image), expected)
    with pytest.raises(ValueError, match='net.pth holds weights without their options'):
        Enhancer.from_pretrained(tmp_path / 'net.pth')


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'sampler': 'ddim'}, ValueError, "sampler: must be one of .*, got 'ddim'"),
        ({'steps': 11}, ValueError, 'steps: must be at most 10, the timesteps of the process'),
        ({'steps': 0}, ValueError, 'steps: must be an integer of at least 1, got 0'),
        ({'seed': -1}, ValueError, 'seed: must be an integer from 0 to 9223372036854775807, got -1'),
        (
            {'seed': 2**63},
            ValueError,
            'seed: must be an integer from 0 to 9223372036854775807, got 9223372036854775808',
        ),
        ({'device': 'gpu'}, ValueError, r"^device: torch cannot compute on 'gpu' here; use cpu( or cuda)?$"),
        ({'device': 'meta'}, ValueError, r"^device: torch cannot compute on 'meta' here; use cpu( or cuda)?$"),
        ({'device': 'vulkan'}, ValueError, r"^device: torch cannot compute on 'vulkan' here; use cpu( or cuda)?$"),
        ({'device': 'hpu'}, ValueError, r"^device: torch cannot compute on 'hpu' here; use cpu( or cuda)?$"),
        ({'device': 'cuda:99'}, ValueError, "^device: torch cannot compute on 'cuda:99' here: .*; use cpu"),
        ({'dtype': 'half'}, ValueError, "dtype: must be one of float32, bf16, fp16, got 'half'"),
        ({'tile': {'sise': 9}}, KeyError, "tile.sise: unknown option; did you mean 'size'"),
        ({'tile': {'size': 9, 'overlap': 9}}, ValueError, 'tile.overlap: must be smaller than size=9'),
        ({'tile': Tiling(1, 0)}, ValueError, '^size: must be at least 2, to which the network pads, got 1'),
        ({'tile': Tiling(1, 0, 'interlace')}, ValueError, '^size: must be at least 2, to which the network pads'),
    ],
    ids=str,
)
def test_refuses_wrong_options(pretrained, options, error, message):
    with pytest.raises(error, match=message):
        Enhancer(pretrained, **options)


def test_refuses_a_network_that_is_not_conditional(pretrained):
    stock = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'upscale': 1}
    with pytest.raises(ValueError, match='network_g.type: the forward of SRVGGNetCompact does not take x_t, mu and t'):
        Enhancer(pretrained._replace(network_g=stock))


def test_bundled_model_brightens_a_dark_image():
    day = read_photograph('coffee')[100:260, 200:424, ::-1] / 255  # not in its training data
    night = LowLightDegradation(exposure=(4, 4))(day, np.random.default_rng(0))
    bright = Enhancer.from_pretrained('night_small')(night)
    before, after = (-10 * np.log10(np.mean((image - day) ** 2)) for image in (night, bright))
    assert after > before + 8


def test_unknown_model_names_the_bundled_ones():
    with pytest.raises(FileNotFoundError, match='nigt_small; bundled models: night_small'):
        Enhancer.from_pretrained('nigt_small')
