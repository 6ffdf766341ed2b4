"""Options of a run: typed sections, option files, and checks of both.

`section` is the machinery; `run` types the sections of BasicSR; `check` checks a whole file; `parse` is the command
line of a run. Rooms that add keys type them in an `options.py` of their own: `models/options.py` for the diffusion
model, `data/datasets/options.py` for the datasets. Losses, networks and metrics are typed by their signatures.
"""

from basicsr_entropy.config.check import check_options, find_problems
from basicsr_entropy.config.files import read_option_file
from basicsr_entropy.config.parse import parse_options
from basicsr_entropy.config.run import (
    CropPhases,
    CropSchedule,
    Dataset,
    ImageBackend,
    Logger,
    Paths,
    Run,
    Train,
    Val,
    dataset_path,
)
from basicsr_entropy.config.section import (
    Integer,
    NonNegativeInteger,
    PositiveInteger,
    PositiveNumber,
    Probability,
    Problem,
    Section,
    Seed,
    Text,
    build,
    construct,
    section_of,
)

__all__ = [
    'CropPhases',
    'CropSchedule',
    'Dataset',
    'ImageBackend',
    'Integer',
    'Logger',
    'NonNegativeInteger',
    'Paths',
    'PositiveInteger',
    'PositiveNumber',
    'Probability',
    'Problem',
    'Run',
    'Section',
    'Seed',
    'Text',
    'Train',
    'Val',
    'build',
    'check_options',
    'construct',
    'dataset_path',
    'find_problems',
    'parse_options',
    'read_option_file',
    'section_of',
]
