"""Examples in docstrings run with the tests, but for those of modules whose extra is not installed."""

from importlib.util import find_spec

collect_ignore = [
    path
    for path, package in (
        ('basicsr_entropy/entropy/backends/triton_kernel.py', 'triton'),
        ('basicsr_entropy/inference/hub.py', 'huggingface_hub'),
        ('basicsr_entropy/inference/onnx.py', 'onnxscript'),
        ('basicsr_entropy/inference/page.py', 'gradio'),
        ('basicsr_entropy/inference/spandrel.py', 'spandrel'),
    )
    if find_spec(package) is None
]
