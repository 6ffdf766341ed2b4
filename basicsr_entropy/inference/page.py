"""A page in the browser that enhances photographs: drop one in, and drag a line between before and after.

Nothing leaves the machine: the page loads no fonts or scripts from elsewhere and reports to nobody.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from basicsr_entropy.diffusion import SAMPLERS
from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.files import read_photograph, write_photograph

try:
    import gradio as gr
except ImportError as error:
    raise ImportError('the app needs the package gradio: pip install "basicsr-entropy[app]"') from error

SHOWN = 1600  # pixels of the longer side of what the page shows; the file to download is whole
HOUR = 3600  # seconds


def enhance_upload(
    enhancer: Enhancer, path: str | None, sampler: str, steps: int, seed: int, progress: gr.Progress
) -> Iterator[tuple[tuple[Image.Image, Image.Image], str, str]]:
    """Enhances an uploaded file.

    Yields:
        Once: before and after as they are shown; the file to download, in the format, bit depth and with the metadata
        of the upload, which is there until the next value is asked for; and a line about it.

    Raises:
        gr.Error: Shown on the page: there is no file, it is no photograph, or an option is out of its range.
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
            yield (_shown(photograph.pixels), _shown(enhanced)), str(file), line
    except (ValueError, OSError, RuntimeError) as error:
        message = str(error).replace(str(path), Path(path).name)
        raise gr.Error(message, print_exception=False) from error


def _shown(pixels: np.ndarray) -> Image.Image:
    """8 bits, RGB, no larger than a page shows."""
    if pixels.dtype == np.uint16:
        pixels = (pixels // 257).astype(np.uint8)
    image = Image.fromarray(pixels).convert('RGB')
    image.thumbnail((SHOWN, SHOWN))
    return image


def build_app(enhancer: Enhancer, model: str) -> gr.Blocks:
    """The page, not yet served.

    Args:
        enhancer: Enhances what is dropped; its sampler, steps and seed are what the page begins with.
        model: Name to show.
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
                    value=enhancer.sampling['sampler'],
                    label='Sampler',
                    info='sde and ode need most of the steps',
                )
                steps = gr.Slider(
                    1, enhancer.process.timesteps, enhancer.sampling['steps'], step=1, label='Network evaluations'
                )
                seed = gr.Number(enhancer.seed, label='Seed', precision=0, minimum=0)
                button = gr.Button('Enhance', variant='primary')
            with gr.Column(scale=3):
                slider = gr.ImageSlider(label='Before | after', interactive=False, max_height=760)
                line = gr.Markdown()
                download = gr.DownloadButton('Download', interactive=False)

        def enhance(path, sampler, steps, seed, progress=gr.Progress()):  # noqa: B008  (how gradio is told of it)
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
        app: What `build_app` made.
        host: Address to listen at; '0.0.0.0' for all of the machine's.
        port: Port to listen at; the first free one from 7860 up by default.
        browser: Open it in the browser.

    Returns:
        The page's address.

    Raises:
        OSError: If the port is taken, or the host is not this machine.
    """
    fonts = {'font': ('system-ui', 'sans-serif'), 'font_mono': ('ui-monospace', 'monospace')}  # of the machine's own
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
    except (OSError, OverflowError) as error:  # the latter for a port above 65535
        where = f'{host}:{port}' if port else host
        raise OSError(f'cannot listen at {where}; it is taken, or no address of this machine') from error
    return address
