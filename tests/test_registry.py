import importlib
import subprocess
import sys
from pathlib import Path

import mmengine
import pytest
from basicsr.utils import registry

import basicsr_entropy
from basicsr_entropy._registry import register
from basicsr_entropy.losses import GaussianBlurL1Loss, HighPassLoss, SpatialEntropyLoss

NAMES = {
    registry.LOSS_REGISTRY: ('SpatialEntropyLoss', 'MixedLoss', 'GaussianBlurL1Loss', 'HighPassLoss', 'GTMeanLoss'),
    registry.ARCH_REGISTRY: ('ConditionalNAFNet', 'ConditionalUNet'),
    registry.MODEL_REGISTRY: ('IRSDEModel', 'ProgressiveSRModel'),
    registry.DATASET_REGISTRY: ('LowLightPairedDataset', 'SyntheticLowLightDataset'),
    registry.METRIC_REGISTRY: ('calculate_psnr_gt_mean', 'calculate_ssim_gt_mean', 'calculate_lpips'),
}


def test_import_registers_every_name():
    for each, names in NAMES.items():
        for name in names:
            assert each.get(name).__module__.startswith('basicsr_entropy.')


def test_import_again_changes_nothing():
    before = {each: dict(iter(each)) for each in NAMES}
    importlib.reload(basicsr_entropy)
    assert before == {each: dict(iter(each)) for each in NAMES}


def test_names_the_holder_of_a_taken_name():
    shelf = registry.Registry('shelf')
    stranger = type('Loss', (), {'__module__': 'somebody.losses'})
    shelf.register(stranger)
    own = type('Loss', (), {'__module__': 'basicsr_entropy.losses'})
    with pytest.raises(KeyError, match="shelf registry already holds a 'Loss', from somebody.losses"):
        register(shelf, [own])
    assert shelf.get('Loss') is stranger


def test_import_fails_clearly_where_a_name_is_taken():
    """In a new process, where basicsr imports only with our help: that of a package whose own import has not run."""
    folder = Path(basicsr_entropy.__file__).parent
    script = f"""if True:
        import sys, types
        sys.modules['basicsr_entropy'] = types.ModuleType('basicsr_entropy')
        sys.modules['basicsr_entropy'].__path__ = [{str(folder)!r}]
        from basicsr_entropy import _compat
        _compat.before_import()
        del sys.modules['basicsr_entropy']
        from basicsr.utils.registry import LOSS_REGISTRY
        class MixedLoss: pass
        LOSS_REGISTRY.register(MixedLoss)
        import basicsr_entropy
    """
    result = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "loss registry already holds a 'MixedLoss', from __main__" in result.stderr


def test_pure_packages_run_where_torch_and_tqdm_alone_are_installed():
    """The losses, spatial entropy and diffusion need neither BasicSR nor any package that it depends on."""
    script = """if True:
        import sys

        class Absent:
            names = set('basicsr cv2 einops lmdb mmengine numpy PIL scipy skimage torchvision'.split())

            def find_spec(self, name, path=None, target=None):
                if name.partition('.')[0] in self.names and not asked_by_importlib():
                    raise ModuleNotFoundError(f'{name} is absent', name=name)

        def asked_by_importlib():
            'Whether importlib.util.find_spec asks, which gives None for absent modules, and imports nothing.'
            frame = sys._getframe()
            while frame := frame.f_back:
                if frame.f_code.co_filename.endswith('util>') and frame.f_code.co_name == 'find_spec':
                    return True

        sys.meta_path.insert(0, Absent())

        import torch
        import basicsr_entropy.diffusion
        import basicsr_entropy.entropy
        from basicsr_entropy.diffusion import MeanRevertingSDE, Sampler, Tiling, sample, sample_tiled
        from basicsr_entropy.losses import GaussianBlurL1Loss, MixedLoss, SpatialEntropyLoss

        target = torch.rand(1, 3, 12, 12)
        for loss in (SpatialEntropyLoss(levels=4), SpatialEntropyLoss(levels=4, backend='eager'), GaussianBlurL1Loss()):
            pred = (target + 0.1).requires_grad_()
            loss(pred, target).backward()
            assert pred.grad.abs().max() > 0
        basicsr_entropy.entropy.spatial_entropy(target, basicsr_entropy.entropy.neighbor_weights('uniform'))

        process = MeanRevertingSDE(prediction='residual')
        network = lambda x_t, mu, t: 2 * mu
        for restored in (
            sample(process, network, target, Sampler('mr_sde', steps=4)),
            sample_tiled(process, network, target, Tiling(size=8, overlap=2), Sampler(steps=2)),
        ):
            torch.testing.assert_close(restored, 3 * target)
        print('loaded:', *sorted(Absent.names & {name.partition('.')[0] for name in sys.modules}))
    """
    result = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == 'loaded:\n'


@pytest.mark.parametrize('method', ['register', 'register_module'])
def test_registers_the_losses_in_registries_of_other_frameworks(method):
    class Shelf(dict):
        """A registry whose only method is named as in neosr and traiNNer-redux, or as in OpenMMLab's."""

    def add(self, module):
        assert module.__name__ not in self
        self[module.__name__] = module

    setattr(Shelf, method, add)
    shelf = Shelf()
    basicsr_entropy.register(shelf)
    assert shelf == {loss.__name__: loss for loss in (SpatialEntropyLoss, GaussianBlurL1Loss, HighPassLoss)}


def test_registers_the_losses_in_a_registry_of_mmengine():
    models = mmengine.Registry('models of this test')
    basicsr_entropy.register(models)
    loss = models.build({'type': 'SpatialEntropyLoss', 'levels': 8})
    assert isinstance(loss, SpatialEntropyLoss)
    assert loss.options.levels == 8
    assert 'GaussianBlurL1Loss' in models


def test_names_an_object_that_is_no_registry():
    with pytest.raises(TypeError, match='dict is no registry'):
        basicsr_entropy.register({})
