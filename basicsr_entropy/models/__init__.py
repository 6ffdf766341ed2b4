"""Models for BasicSR's model registry."""

import basicsr  # noqa: F401  (first: its import registers the classes below)

from basicsr_entropy.models.irsde_model import IRSDEModel
from basicsr_entropy.models.progressive_model import ProgressiveSRModel

__all__ = ['IRSDEModel', 'ProgressiveSRModel']
