"""Options of a run, typed and checked in one place.

- `section`: the base class of typed sections, and sections derived from signatures;
- `sections`: the sections of BasicSR; `models/options.py` and `data/datasets/options.py` extend them for the diffusion
  model and the datasets; losses, networks and metrics are typed by their signatures;
- `problems`: error messages about options;
- `validate`: checks of a whole option file; `parse`: the command line and option file of a run;
- `folders`: where a run writes;
- `templates`: the option files that the package writes; `as_test`: testing with a training file;
- `json_schema` and `doc_tables`: the JSON schema and the documentation of all options.
"""

from basicsr_entropy.config.files import read_option_file
from basicsr_entropy.config.parse import parse_options
from basicsr_entropy.config.problems import Problem
from basicsr_entropy.config.section import (
    Integer,
    NonNegativeInteger,
    PositiveInteger,
    PositiveNumber,
    Probability,
    Section,
    Seed,
    Text,
    build,
    construct,
    section_of,
)
from basicsr_entropy.config.sections import (
    AnyDataset,
    CropPhases,
    CropSchedule,
    ImageBackend,
    Logger,
    Name,
    OptionFile,
    Paths,
    Train,
    Val,
    dataset_path,
)
from basicsr_entropy.config.validate import check_options, find_problems

__all__ = [
    'AnyDataset',
    'CropPhases',
    'CropSchedule',
    'ImageBackend',
    'Integer',
    'Logger',
    'Name',
    'NonNegativeInteger',
    'Paths',
    'PositiveInteger',
    'PositiveNumber',
    'Probability',
    'Problem',
    'OptionFile',
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
