"""Executes a notebook and stores its outputs in it."""

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument('notebook', type=Path)
path = parser.parse_args().notebook
notebook = nbformat.read(path, as_version=4)
NotebookClient(notebook, timeout=600, record_timing=False).execute()
for cell in notebook.cells:
    cell.metadata.clear()
notebook.metadata.language_info = {'name': 'python'}
nbformat.write(notebook, path)
