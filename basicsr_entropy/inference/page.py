"""A page for the browser that enhances photographs, with sliders for what needs no new evaluation.

Everything stays on the serving machine: the page loads no fonts or scripts from elsewhere and sends no usage data.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch.nn import functional as F

from basicsr_entropy._errors import first_line
from basicsr_entropy.diffusion import SAMPLERS
from basicsr_entropy.diffusion.samplers import SamplerType
from basicsr_entropy.inference.controls import LARGEST_EXPOSURE, Controls
from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.files import Photograph, read_photograph, result_name, write_photograph
from basicsr_entropy.inference.images import image_to_tensor

try:
    import gradio as gr
except ImportError as error:
    raise ImportError('the app needs the package gradio: pip install "basicsr-entropy[app]"') from error

PREVIEW_SIZE = 1600  # longer side in pixels of the images on the page; the file to download has the full size
MOST_SAMPLES = 4
HOUR = 3600  # seconds
STYLE = """
#input img {max-height: 640px; object-fit: contain}
#samples .grid-wrap {max-height: none; min-height: 0; height: auto}
@media (max-width: 640px) {#samples .grid-container {grid-template-columns: 1fr 1fr}}
"""


class Stopped(Exception):
    """The visitor cancelled, or closed the page."""


class Jobs:
    """The jobs of the visitors, one each, and whether they are to stop. Shared by the threads of the server."""

    def __init__(self) -> None:
        self._stops: dict[str, threading.Event] = {}

    def begin(self, session: str) -> None:
        """Notes a job, which may wait for its turn."""
        self._stops[session] = threading.Event()

    def end(self, session: str) -> None:
        """Forgets a job, and stops it if it waits or runs."""
        if stop := self._stops.pop(session, None):
            stop.set()

    def stop_of(self, session: str) -> Callable[[], None]:
        """A function that raises `Stopped` once the job is to stop."""
        stop = self._stops.get(session)

        def check() -> None:
            if stop is None or stop.is_set():
                raise Stopped

        return check


@dataclass
class Result:
    """What a visitor sees: a photograph and its samples, at full size and small.

    Attributes:
        name: File name of the photograph.
        photograph: The upload.
        preview: The photograph, float32 (1, 3, h, w), at most `PREVIEW_SIZE` pixels.
        seeds: Seed of each sample.
        samples: Results of the model, float32 (1, 3, H, W).
        previews: The samples, at the size of `preview`.
    """

    name: str
    photograph: Photograph
    preview: torch.Tensor
    seeds: list[int] = field(default_factory=list)
    samples: list[torch.Tensor] = field(default_factory=list)
    previews: list[torch.Tensor] = field(default_factory=list)

    def add(self, seed: int, sample: torch.Tensor) -> None:
        """Adds a sample of the model."""
        self.seeds.append(seed)
        self.samples.append(sample)
        self.previews.append(_reduced(sample))

    def shown(self, chosen: int, controls: Controls) -> tuple[Image.Image, Image.Image]:
        """Input and a sample, small."""
        return _to_pil(self.preview), _to_pil(controls(self.preview, self.previews[chosen]))

    def gallery(self, controls: Controls) -> list[tuple[Image.Image, str]]:
        """Input and all samples, small, with their seeds."""
        images = (_to_pil(controls(self.preview, each)) for each in self.previews)
        samples = [(image, f'seed {seed}') for image, seed in zip(images, self.seeds)]
        return [(_to_pil(self.preview), 'input'), *samples]

    def write(self, folder: str, chosen: int, controls: Controls) -> str:
        """Writes a sample at full size, in the format, bit depth and with the metadata of the upload."""
        rgb, convert_back = image_to_tensor(self.photograph.pixels)
        name = result_name(Path(self.name))
        file = Path(folder, f'{name.stem}_enhanced{name.suffix}')
        stops = controls.stops(self.previews[chosen])  # the file is as bright as the page shows it
        pixels = convert_back(controls(rgb, self.samples[chosen], stops))
        write_photograph(file, self.photograph._replace(pixels=pixels))
        return str(file)


def read_upload(path: str) -> Result:
    """Reads an uploaded file.

    Raises:
        gr.Error: Shown on the page: one sentence that names the file and says what is wrong with it.
    """
    name = Path(path).name
    try:
        photograph = read_photograph(path)
        return Result(name, photograph, _reduced(image_to_tensor(photograph.pixels).rgb))
    except (ValueError, OSError) as error:
        raise gr.Error(first_line(error).replace(str(path), name), print_exception=False) from error


def enhance(
    enhancer: Enhancer,
    result: Result,
    sampler: SamplerType,
    steps: int,
    seed: int,
    samples: int,
    stop: Callable[[], None],
    progress: Callable[[tuple[int, int], str], Any],
) -> Iterator[str]:
    """Adds samples to a result, in place; with several, of seeds that follow each other.

    Args:
        enhancer: The model.
        result: The photograph, without samples.
        sampler: Name of the sampler.
        steps: Network function evaluations.
        seed: Seed of the first sample.
        samples: Number of samples.
        stop: Called at first and before each evaluation, on a tile or the image; raises `Stopped` to end the job.
        progress: Called as progress((done, total), description) after each step.

    Yields:
        After each sample, a line about size and time.

    Raises:
        gr.Error: Shown on the page: an option is out of its range, or memory does not suffice.
        Stopped: Raised by `stop`.
    """
    stop()
    start = time.perf_counter()
    rgb = image_to_tensor(result.photograph.pixels).rgb
    height, width = rgb.shape[-2:]
    try:
        for index in range(samples):
            chosen = enhancer.changed(sampler=sampler, steps=steps, seed=seed + index)
            what = f'sample {index + 1} of {samples}' if samples > 1 else 'steps'
            sample = chosen(
                rgb,
                callback=lambda step, *_, what=what: progress((step + 1, steps), what),
                before_evaluation=stop,
            )
            result.add(seed + index, sample)
            many = f'sample {index + 1} of {samples}, ' if samples > 1 else ''
            yield f'{width} x {height} pixels, {many}{steps} evaluations, {time.perf_counter() - start:.1f} s'
    except (ValueError, OSError, RuntimeError) as error:
        raise gr.Error(first_line(error), print_exception=False) from error


def _reduced(image: torch.Tensor) -> torch.Tensor:
    longer = max(image.shape[-2:])
    if longer <= PREVIEW_SIZE:
        return image
    size = [max(1, round(side * PREVIEW_SIZE / longer)) for side in image.shape[-2:]]
    return F.interpolate(image, size=size, mode='area')


def _to_pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def build_app(enhancer: Enhancer, model: str, controls: Controls = Controls()) -> gr.Blocks:  # noqa: B008  (frozen)
    """Builds the page, without serving it.

    Args:
        enhancer: The model; its sampler, steps and seed are the initial values on the page.
        model: Name of the model to show.
        controls: Initial values of the sliders below the result; with a `brightness`, the slider of the exposure counts
            from there.
    """
    jobs = Jobs()
    with gr.Blocks(title='basicsr-entropy', analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as app:
        state = gr.State(None, time_to_live=HOUR)
        chosen = gr.State(0)
        gr.Markdown(f'# Enhance a low-light photograph\nModel **{model}** on **{enhancer.device}**.')
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                upload = gr.File(label='Photograph', type='filepath', height=120)
                samples = gr.Slider(
                    1, MOST_SAMPLES, 1, step=1, label='Samples', info='one dark photograph has many bright ones'
                )
                start = gr.Button('Enhance', variant='primary', interactive=False)  # until an upload is read
                cancel = gr.Button('Cancel', variant='stop', visible=False)
                with gr.Accordion('Sampling', open=False):
                    steps = gr.Slider(
                        1, enhancer.process.timesteps, enhancer.steps, step=1, label='Network evaluations'
                    )
                    sampler = gr.Dropdown(list(SAMPLERS), value=enhancer.sampler.type, label='Sampler')
                    seed = gr.Number(enhancer.seed, label='Seed', precision=0, minimum=0)
            with gr.Column(scale=3, min_width=300):
                preview = gr.Image(label='Input', interactive=False, visible=False, elem_id='input', buttons=[])
                slider = gr.ImageSlider(label='Input | output', interactive=False, max_height=640)
                gallery = gr.Gallery(
                    label='Samples: choose one',
                    columns=MOST_SAMPLES + 1,
                    object_fit='contain',
                    allow_preview=False,
                    visible=False,
                    height='auto',
                    elem_id='samples',
                    buttons=[],
                )
                line = gr.Markdown()
                with gr.Row():
                    strength = gr.Slider(0, 1, controls.strength, step=0.05, label='Strength', min_width=200)
                    exposure = gr.Slider(
                        -LARGEST_EXPOSURE,
                        LARGEST_EXPOSURE,
                        controls.exposure,
                        step=0.1,
                        label='Exposure (stops)',
                        min_width=200,
                    )
                    highlights = gr.Slider(
                        0, 1, controls.protect_highlights, step=0.05, label='Protect highlights', min_width=200
                    )
                download = gr.DownloadButton('Download', interactive=False)

        sliders = [strength, exposure, highlights]
        outcome = [slider, gallery, line, download]

        def as_set(strength: float, exposure: float, highlights: float) -> Controls:
            return Controls(strength, exposure, highlights, controls.brightness)

        def no_result(shows_input: Image.Image | None = None) -> dict[Any, Any]:
            """Without the result of another photograph or of other options."""
            return {
                state: None,
                chosen: 0,
                preview: gr.Image(value=shows_input, visible=shows_input is not None),
                slider: gr.ImageSlider(value=None, visible=shows_input is None),
                gallery: gr.Gallery(value=None, visible=False),
                line: '',
                download: gr.DownloadButton(value=None, interactive=False),
            }

        def show_upload(path: str | None, request: gr.Request) -> dict[Any, Any]:
            jobs.end(request.session_hash)
            shown = no_result(_to_pil(read_upload(path).preview) if path else None)
            return {**shown, start: gr.Button(interactive=path is not None)}

        def begin(path: str | None, sampler: SamplerType, steps: int, request: gr.Request) -> dict[Any, Any]:
            if path is None:
                raise gr.Error('Drop a photograph first.', print_exception=False)
            result = read_upload(path)
            if caution := enhancer.changed(sampler=sampler, steps=int(steps)).sampler.caution(enhancer.process):
                gr.Warning(caution)
            jobs.begin(request.session_hash)
            shown = no_result(_to_pil(result.preview))
            return {**shown, state: result, start: gr.Button(visible=False), cancel: gr.Button(visible=True)}

        def run(
            result: Result,  # or None once the job is to stop
            sampler: SamplerType,
            steps: int,
            seed: int | None,  # None if the field is empty
            samples: int,
            strength: float,
            exposure: float,
            highlights: float,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008  (gradio finds it by this default)
        ) -> Iterator[dict[Any, Any]]:
            controls = as_set(strength, exposure, highlights)
            stop = jobs.stop_of(request.session_hash)

            def show_progress(done: tuple[int, int], what: str) -> None:
                progress(done, unit=what)

            try:
                for text in enhance(
                    enhancer, result, sampler, int(steps), int(seed or 0), int(samples), stop, show_progress
                ):
                    yield {
                        preview: gr.Image(visible=False),
                        slider: gr.ImageSlider(value=result.shown(0, controls), visible=True),
                        gallery: gr.Gallery(value=result.gallery(controls), visible=len(result.samples) > 1),
                        line: text,
                    }
            except Stopped:
                yield {line: 'Cancelled.'}
            finally:
                jobs.end(request.session_hash)

        def adjust(
            result: Result | None, chosen: int, strength: float, exposure: float, highlights: float
        ) -> dict[Any, Any]:
            if not result or not result.samples:
                return {slider: gr.skip()}
            controls = as_set(strength, exposure, highlights)
            return {
                slider: gr.ImageSlider(value=result.shown(chosen, controls)),
                gallery: gr.Gallery(value=result.gallery(controls), selected_index=chosen + 1),
            }

        def write(
            result: Result | None, chosen: int, strength: float, exposure: float, highlights: float
        ) -> Iterator[gr.DownloadButton]:
            if not result or not result.samples:
                yield gr.DownloadButton(value=None, interactive=False)
                return
            with TemporaryDirectory() as folder:  # gradio copies the file before the generator resumes
                file = result.write(folder, chosen, as_set(strength, exposure, highlights))
                yield gr.DownloadButton(value=file, interactive=True)

        def choose(event: gr.SelectData) -> int:
            return max(0, event.index - 1)  # the first is the input

        def closed(request: gr.Request) -> None:
            jobs.end(request.session_hash)

        def idle() -> tuple[gr.Button, gr.Button]:
            return gr.Button(visible=True), gr.Button(visible=False)

        emptied = [state, chosen, preview, *outcome]
        adjusted, written = [state, chosen, *sliders], {'queue': True, 'show_progress': 'minimal'}
        # one queue: the button may still be enabled for the upload before, while this one is read
        in_order = {'concurrency_id': 'read', 'concurrency_limit': 1, 'show_progress': 'hidden'}
        upload.change(show_upload, upload, [*emptied, start], **in_order)
        started = start.click(begin, [upload, sampler, steps], [*emptied, start, cancel], **in_order)
        ran = started.success(
            run,
            [state, sampler, steps, seed, samples, *sliders],
            [preview, slider, gallery, line],
            show_progress_on=preview,
            concurrency_limit=1,
        )
        # the sliders may have moved while it ran
        ran.then(idle, None, [start, cancel], show_progress='hidden').then(
            adjust, adjusted, [slider, gallery], show_progress='hidden'
        ).then(write, adjusted, download, **written)
        cancel.click(closed, None, None, queue=False)
        for each in sliders:
            each.release(adjust, adjusted, [slider, gallery], trigger_mode='always_last', show_progress='hidden').then(
                write, adjusted, download, **written
            )
        gallery.select(choose, None, chosen, show_progress='hidden').then(
            adjust, adjusted, [slider, gallery], show_progress='hidden'
        ).then(write, adjusted, download, **written)
        app.unload(closed)
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
            css=STYLE,
            theme=gr.themes.Default(**fonts),
        )
    except (OSError, OverflowError) as error:  # OverflowError: a port above 65535
        where = f'{host}:{port}' if port else host
        raise OSError(f'cannot listen on {where}: in use, or not an address of this machine') from error
    return address
