"""Models in folders and repositories as huggingface_hub writes and reads them."""

from pathlib import Path
from typing import Any

from basicsr_entropy.inference.module import EnhancementModule
from basicsr_entropy.inference.pretrained import FILE_IN_FOLDER, read_pretrained, write_model
from basicsr_entropy.models.weights import load_weights

try:
    from huggingface_hub import PyTorchModelHubMixin
except ImportError as error:
    raise ImportError('the hub needs the package huggingface_hub: pip install "basicsr-entropy[hub]"') from error


class HubModel(
    EnhancementModule,
    PyTorchModelHubMixin,
    library_name='basicsr-entropy',
    pipeline_tag='image-to-image',
    paper_url='https://arxiv.org/abs/2404.09735',
    tags=['low-light-image-enhancement', 'basicsr'],
):
    """An `EnhancementModule` with `save_pretrained`, `from_pretrained` and `push_to_hub`.

    A folder holds config.json, a model card, and model.safetensors, which is a model file of this package:
    `Enhancer.from_pretrained`, `basicsr-entropy enhance --model` and spandrel take it, too. A local folder needs no
    network connection; the name of a repository, as in `HubModel.from_pretrained('user/name')`, downloads it.

    Example:
        >>> import tempfile
        >>> model = HubModel.of(read_pretrained('night_small'))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = model.save_pretrained(folder)
        ...     again = HubModel.from_pretrained(folder)
        Loading weights from local directory
        >>> again.to_pretrained().network_g['type']
        'ConditionalNAFNet'
    """

    def _save_pretrained(self, save_directory: Path) -> None:
        write_model(self.to_pretrained(), save_directory / FILE_IN_FOLDER)

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:
        """Loads all weights or raises an error, whatever `strict`, whose default ignores weights that do not fit."""
        load_weights(model.net, read_pretrained(model_file).weights, model_file, option='model')
        return model.to(map_location)
