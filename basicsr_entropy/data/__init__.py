"""Low-light data for BasicSR's dataset registry: layouts, LMDB stores, degradation."""

from basicsr_entropy.data.degradation import LowLightDegradation
from basicsr_entropy.data.lowlight_paired_dataset import LowLightPairedDataset
from basicsr_entropy.data.prepare import prepare_stores
from basicsr_entropy.data.synthetic_lowlight_dataset import SyntheticLowLightDataset

__all__ = ['LowLightDegradation', 'LowLightPairedDataset', 'SyntheticLowLightDataset', 'prepare_stores']
