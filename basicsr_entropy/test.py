"""BasicSR's testing pipeline with this plugin: `python -m basicsr_entropy.test -opt FILE`."""

from basicsr_entropy.cli import main

if __name__ == '__main__':
    main(['test'])
