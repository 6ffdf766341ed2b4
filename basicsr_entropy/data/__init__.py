"""Low-light data for BasicSR's dataset registry: layouts, LMDB stores, degradation."""

from basicsr_entropy.data.degradation import LowLightDegradation
from basicsr_entropy.data.encoding import Recipe
from basicsr_entropy.data.lowlight_paired_dataset import LowLightPairedDataset
from basicsr_entropy.data.prepare import prepare_stores
from basicsr_entropy.data.synthetic_lowlight_dataset import SyntheticLowLightDataset

__all__ = ['LowLightDegradation', 'LowLightPairedDataset', 'Recipe', 'SyntheticLowLightDataset', 'prepare_stores']
