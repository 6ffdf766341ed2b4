"""Models for the programs that load them with spandrel, such as ComfyUI and chaiNNer."""

import torch

from basicsr_entropy.inference.module import EnhancementModule
from basicsr_entropy.inference.pretrained import OPTIONS_KEY, pretrained_from_tensors

try:
    from spandrel import MAIN_REGISTRY, Architecture, ArchRegistry, ArchSupport, ImageModelDescriptor, ModelTiling
except ImportError as error:
    raise ImportError('this module needs the package spandrel: pip install "basicsr-entropy[spandrel]"') from error


class IRSDEArchitecture(Architecture[EnhancementModule]):
    """Recognizes model files that `basicsr-entropy export` wrote, by the options among their tensors.

    The loaded model samples with the sampler, the steps and the process of the file. It tiles large images itself, so
    that one global brightness is kept, and runs in float32.
    """

    def __init__(self) -> None:
        super().__init__(id='basicsr-entropy', name='IR-SDE', detect=lambda state_dict: OPTIONS_KEY in state_dict)

    def load(self, state_dict: dict[str, torch.Tensor]) -> ImageModelDescriptor[EnhancementModule]:
        """Builds the model of a state dict.

        Raises:
            KeyError: If an option of the model is unknown or missing.
            ValueError: If an option is out of its range, or the weights do not fit the network.
        """
        model = pretrained_from_tensors(state_dict, 'the model file')
        module = EnhancementModule.of(model)
        return ImageModelDescriptor(
            module,
            module.state_dict(),
            architecture=self,
            purpose='Restoration',
            tags=[type(module.net).__name__, module.sampler.type],
            supports_half=False,
            supports_bfloat16=False,
            scale=1,
            input_channels=3,
            output_channels=3,
            tiling=ModelTiling.INTERNAL,
        )


def install(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Adds the architecture to a registry of spandrel, before those that are there. May be called repeatedly.

    Args:
        registry: By default the one that spandrel's `ModelLoader` uses.

    Example:
        >>> from spandrel import ModelLoader
        >>> install()
        >>> model = ModelLoader().load_from_file('model.safetensors')    # doctest: +SKIP
    """
    # the keys of ConditionalNAFNet also look like spandrel's NAFNet, so the others must not be asked first
    before = tuple(support.architecture.id for support in registry)
    registry.add(ArchSupport.from_architecture(IRSDEArchitecture(), before), ignore_duplicates=True)
