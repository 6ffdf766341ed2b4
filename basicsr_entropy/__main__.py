"""`python -m basicsr_entropy COMMAND ...`, the same as `basicsr-entropy COMMAND ...`."""

from basicsr_entropy.cli import main

if __name__ == '__main__':
    main()
