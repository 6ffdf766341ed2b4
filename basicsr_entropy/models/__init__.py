"""Models for BasicSR's model registry."""

from basicsr_entropy.models.irsde_model import IRSDEModel
from basicsr_entropy.models.progressive_model import ProgressiveSRModel

__all__ = ['IRSDEModel', 'ProgressiveSRModel']
