"""A page for the browser that enhances photographs and shows input and output under a slider.

Everything stays on the serving machine: the page loads no fonts or scripts from elsewhere and sends no usage data.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from basicsr_entropy.diffusion import SAMPLERS
from basicsr_entropy.diffusion.samplers import SamplerType
from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.files import read_photograph, write_photograph

try:
    import gradio as gr
except ImportError as error:
    raise ImportError('the app needs the package gradio: pip install "basicsr-entropy[app]"') from error

PREVIEW_SIZE = 1600  # longer side in pixels of the images on the page; the file to download has the full size
HOUR = 3600  # seconds


def enhance_upload(
    enhancer: Enhancer, path: str | None, sampler: SamplerType, steps: int, seed: int, progress: gr.Progress
) -> Iterator[tuple[tuple[Image.Image, Image.Image], str, str]]:
    """Enhances an uploaded file.

    Args:
        enhancer: The model.
        path: The uploaded file; None if there is none.
        sampler: Name of the sampler.
        steps: Network function evaluations.
        seed: Seed of the noise.
        progress: Called after each evaluation.

    Yields:
        Once: input and output as the page shows them; the file to download, which has the format, bit depth and
        metadata of the upload and is deleted once the generator resumes; and a line about size and time.

    Raises:
        gr.Error: Shown on the page: there is no file, it is not a photograph, or an option is out of its range.
    """
    if path is None:
        raise gr.Error('Drop a photograph first.', print_exception=False)
    start, steps = time.perf_counter(), int(steps)
    try:
        photograph = read_photograph(path)
        chosen = enhancer.changed(sampler=sampler, steps=steps, seed=int(seed))
        enhanced = chosen(
            photograph.pixels, callback=lambda index, *_: progress((index + 1, steps), unit='evaluations')
        )
        with TemporaryDirectory() as folder:
            file = Path(folder, f'{Path(path).stem}_enhanced{Path(path).suffix}')
            write_photograph(file, photograph._replace(pixels=enhanced))
            height, width = enhanced.shape[:2]
            line = f'{width} x {height} pixels, {steps} evaluations, {time.perf_counter() - start:.1f} s'
            yield (_preview(photograph.pixels), _preview(enhanced)), str(file), line
    except (ValueError, OSError, RuntimeError) as error:
        message = str(error).replace(str(path), Path(path).name)
        raise gr.Error(message, print_exception=False) from error


def _preview(pixels: np.ndarray) -> Image.Image:
    """An 8-bit RGB image of at most `PREVIEW_SIZE` pixels."""
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    image = Image.fromarray(pixels).convert('RGB')
    image.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE))
    return image


def build_app(enhancer: Enhancer, model: str) -> gr.Blocks:
    """Builds the page, without serving it.

    Args:
        enhancer: The model; its sampler, steps and seed are the initial values on the page.
        model: Name of the model to show.
    """
    with gr.Blocks(title='basicsr-entropy', analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as app:
        gr.Markdown(f'# Enhance a low-light photograph\nModel **{model}** on **{enhancer.device}**.')
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                upload = gr.Image(
                    label='Photograph', type='filepath', image_mode=None, sources=['upload', 'clipboard'], height=260
                )
                sampler = gr.Dropdown(
                    list(SAMPLERS),
                    value=enhancer.sampler.type,
                    label='Sampler',
                    info='sde and ode need nearly as many evaluations as the slider allows',
                )
                steps = gr.Slider(1, enhancer.process.timesteps, enhancer.steps, step=1, label='Network evaluations')
                seed = gr.Number(enhancer.seed, label='Seed', precision=0, minimum=0)
                button = gr.Button('Enhance', variant='primary')
            with gr.Column(scale=3):
                slider = gr.ImageSlider(label='Input | output', interactive=False, max_height=760)
                line = gr.Markdown()
                download = gr.DownloadButton('Download', interactive=False)

        def enhance(
            path: str | None,
            sampler: SamplerType,
            steps: int,
            seed: int,
            progress: gr.Progress = gr.Progress(),  # noqa: B008  (gradio finds it by this default)
        ) -> Iterator[tuple[tuple[Image.Image, Image.Image], str, gr.DownloadButton]]:
            for images, file, text in enhance_upload(enhancer, path, sampler, steps, seed, progress):
                yield images, text, gr.DownloadButton(value=file, interactive=True)

        button.click(
            enhance,
            [upload, sampler, steps, seed],
            [slider, line, download],
            show_progress_on=slider,
            concurrency_limit=1,
        )
    return app


def serve(app: gr.Blocks, host: str = '127.0.0.1', port: int | None = None, browser: bool = False) -> str:
    """Serves the page in the background.

    Args:
        app: Page from `build_app`.
        host: Address to listen on; '0.0.0.0' listens on every address of the machine.
        port: Port to listen on; by default the first free one from 7860 up.
        browser: Open the page in the browser.

    Returns:
        The address of the page.

    Raises:
        OSError: If the port is in use or invalid, or the host is not an address of this machine.
    """
    fonts = {
        'font': ('system-ui', 'sans-serif'),
        'font_mono': ('ui-monospace', 'monospace'),
    }  # installed fonts only, nothing to download
    try:
        _, address, _ = app.launch(
            server_name=host,
            server_port=port,
            inbrowser=browser,
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            share=False,
            ssr_mode=False,
            footer_links=[],
            theme=gr.themes.Default(**fonts),
        )
    except (OSError, OverflowError) as error:  # OverflowError: a port above 65535
        where = f'{host}:{port}' if port else host
        raise OSError(f'cannot listen on {where}: in use, or not an address of this machine') from error
    return address
