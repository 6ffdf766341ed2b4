"""BasicSR's training pipeline with this plugin: `python -m basicsr_entropy.train -opt FILE`."""

from basicsr_entropy.cli import main

if __name__ == '__main__':
    main(['train'])
