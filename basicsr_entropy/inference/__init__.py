"""Enhancement of photographs with a trained model, in memory and as files.

    from basicsr_entropy.inference import Enhancer

    enhancer = Enhancer.from_pretrained('night_small')

`enhancer` turns images into images, `pretrained` reads and writes model files, `images` converts between images in
memory and tensors, `controls` sets strength, exposure and highlights of a result, `files` reads and writes photographs
with their metadata, and `batch` enhances many files. `page` is a page for the browser, which needs the package gradio.
`module` is a model as one torch module, which `hub`, `spandrel` and `onnx` give to other programs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from basicsr_entropy.inference.batch import enhance_files
    from basicsr_entropy.inference.controls import Controls
    from basicsr_entropy.inference.enhancer import Enhancer
    from basicsr_entropy.inference.files import Photograph, find_photographs, read_photograph, write_photograph
    from basicsr_entropy.inference.images import image_to_tensor
    from basicsr_entropy.inference.module import EnhancementModule
    from basicsr_entropy.inference.pretrained import Pretrained, read_pretrained, write_pretrained

__all__ = [
    'Controls',
    'EnhancementModule',
    'Enhancer',
    'Photograph',
    'Pretrained',
    'enhance_files',
    'find_photographs',
    'image_to_tensor',
    'read_photograph',
    'read_pretrained',
    'write_photograph',
    'write_pretrained',
]

_MODULES = {
    'batch': ('enhance_files',),
    'controls': ('Controls',),
    'enhancer': ('Enhancer',),
    'files': ('Photograph', 'find_photographs', 'read_photograph', 'write_photograph'),
    'images': ('image_to_tensor',),
    'module': ('EnhancementModule',),
    'pretrained': ('Pretrained', 'read_pretrained', 'write_pretrained'),
}


def __getattr__(name: str) -> Any:
    """Names are imported on first use: reading photographs should not take the seconds that basicsr takes to import."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f'{__name__}.{module}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
