import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from basicsr.utils import registry

import basicsr_entropy
from basicsr_entropy._registry import register

NAMES = {
    registry.LOSS_REGISTRY: ('SpatialEntropyLoss', 'MixedLoss', 'GaussianBlurL1Loss'),
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
