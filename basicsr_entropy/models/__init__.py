"""Models for BasicSR's model registry."""

from basicsr_entropy.models.irsde_model import IRSDEModel

__all__ = ['IRSDEModel']
