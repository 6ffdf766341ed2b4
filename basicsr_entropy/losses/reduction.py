"""The reductions that BasicSR's losses know."""

from basicsr_entropy._checks import check_choice

REDUCTIONS = ('none', 'mean', 'sum')


def check_reduction(reduction: str) -> None:
    """Raises a ValueError unless reduction is 'none', 'mean' or 'sum'."""
    check_choice('reduction', reduction, REDUCTIONS)
