"""Dataset classes that BasicSR's dataset registry holds."""

import basicsr  # noqa: F401  (first: its import registers the classes below)

from basicsr_entropy.data.datasets.degradation import LowLightDegradation
from basicsr_entropy.data.datasets.lowlight_paired_dataset import LowLightPairedDataset
from basicsr_entropy.data.datasets.synthetic_lowlight_dataset import SyntheticLowLightDataset

__all__ = ['LowLightDegradation', 'LowLightPairedDataset', 'SyntheticLowLightDataset']
