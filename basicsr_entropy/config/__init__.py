"""Options of a run: option files, and what may stand in them."""

from basicsr_entropy.config.files import read_option_file

__all__ = ['read_option_file']
