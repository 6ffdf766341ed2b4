"""The page in a real browser that may contact no other host."""

import shutil
import socket
import sys
import threading
import time

import numpy as np
import pytest
from helpers import photograph
from PIL import Image

from basicsr_entropy.inference.controls import Controls
from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.files import read_photograph
from basicsr_entropy.inference.images import image_to_tensor

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium (apt-get install chromium)')


@pytest.fixture
def enhancer(pretrained):
    return Enhancer(pretrained, device='cpu')


@pytest.fixture
def page(enhancer):
    """The page, served and opened; the test fails if it requests anything from another host."""
    from playwright.sync_api import sync_playwright

    from basicsr_entropy.inference.page import build_app, serve

    app = build_app(enhancer, 'tiny')
    address, elsewhere = serve(app), []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        page = browser.new_page()

        def route(route):
            here = route.request.url.startswith(address)
            if not here:
                elsewhere.append(route.request.url)
            (route.continue_ if here else route.abort)()

        page.route('http*://**', route)
        page.goto(address)
        yield page
        browser.close()
    app.close()
    assert elsewhere == []


@pytest.fixture
def night(tmp_path):
    """A photograph that lies on its side, as cameras store them: 40x48 pixels when upright."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, 'Maker'
    Image.fromarray(photograph(1) // 8).save(tmp_path / 'night.png', exif=tags.tobytes())
    return tmp_path / 'night.png'


@pytest.fixture
def gate():
    """Evaluations of the network begin while it is set."""
    event = threading.Event()
    event.set()
    yield event
    event.set()


@pytest.fixture
def evaluations(enhancer, gate, monkeypatch):
    """Counts the evaluations of the network, which take a tenth of a second or more."""
    count, forward = [], enhancer.net.forward

    def counted(*inputs):
        count.append(1)
        gate.wait(300)
        time.sleep(0.1)
        return forward(*inputs)

    monkeypatch.setattr(enhancer.net, 'forward', counted)
    return count


def drop(page, path):
    page.set_input_files('input[type=file]', path)


def click(page, name):
    page.get_by_role('button', name=name, exact=True).click()


def fill(page, label, value):
    """Fills a field; again where one that has just been opened takes its initial value afterwards."""
    field = page.get_by_label(label)
    for _ in range(50):
        field.fill(str(value))
        page.wait_for_timeout(100)
        if field.input_value() == str(value):
            field.press('Tab')
            return
    pytest.fail(f'{label} does not keep {value}')


def set_number(page, name, value):
    fill(page, f'number input for {name}', value)


def before_and_after(page):
    """The two images of the slider, which may appear after the line below them."""
    images = page.get_by_test_id('imageslider-image')
    return [images.nth(i).element_handle() for i in range(2)]


def downloaded(page, path):
    with page.expect_download() as download:
        page.get_by_role('button', name='Download').last.click()
    download.value.save_as(path)
    return download.value.suggested_filename


def wait_for_download(page):
    """Until the file is written, which comes last."""
    page.wait_for_function(
        "[...document.querySelectorAll('button')].some(b => b.innerText == 'Download' && !b.disabled)"
    )


@pytest.mark.browser
@needs_chromium
def test_enhances_a_dropped_photograph(page, enhancer, night, tmp_path):
    click(page, 'Sampling ▼')
    fill(page, 'Seed', 7)
    drop(page, night)
    page.locator('#input img').wait_for()  # the upload is shown before it is enhanced
    click(page, 'Enhance')
    page.get_by_text('40 x 48 pixels, 2 evaluations, ').wait_for()  # upright, as EXIF says
    for shown in before_and_after(page):
        page.wait_for_function('image => image.naturalWidth == 40 && image.naturalHeight == 48', arg=shown)
    assert len({image.get_attribute('src') for image in before_and_after(page)}) == 2
    wait_for_download(page)
    assert downloaded(page, tmp_path / 'bright.png') == 'night_enhanced.png'
    dark, bright = read_photograph(night), read_photograph(tmp_path / 'bright.png')
    assert (bright.exif, bright.orientation) == (dark.exif, dark.orientation)
    assert np.array_equal(bright.pixels, enhancer.changed(seed=7)(dark.pixels))


@pytest.mark.browser
@needs_chromium
def test_enhances_a_photograph_whose_upload_is_slow(page, night):
    page.route('**/upload*', lambda route: (time.sleep(0.5), route.continue_()))
    drop(page, night)
    click(page, 'Enhance')
    page.get_by_text('40 x 48 pixels, 2 evaluations, ').wait_for()


@pytest.mark.browser
@needs_chromium
def test_enhances_a_photograph_that_is_still_being_read(page, night, monkeypatch):
    from basicsr_entropy.inference import page as module

    read, log = module.read_upload, []

    def slowly(path):
        log.append('begins')
        time.sleep(1)
        log.append('ends')
        return read(path)

    monkeypatch.setattr(module, 'read_upload', slowly)
    drop(page, night)
    page.get_by_text('night').first.wait_for()
    click(page, 'Enhance')
    page.get_by_text('40 x 48 pixels, 2 evaluations, ').wait_for()
    wait_for_download(page)
    assert log == ['begins', 'ends'] * 2  # or the first, which empties the page, may end after the job has begun


@pytest.mark.browser
@needs_chromium
def test_a_photograph_replaced_while_its_job_waits_is_not_enhanced(page, evaluations, gate, night):
    gate.clear()
    drop(page, night)
    page.locator('#input img').wait_for()
    other = page.context.browser.new_page()
    other.goto(page.url)
    drop(other, night)
    other.locator('#input img').wait_for()
    click(page, 'Enhance')
    while not evaluations:
        page.wait_for_timeout(50)
    click(other, 'Enhance')
    other.get_by_role('button', name='Cancel').wait_for()
    other.get_by_label('Clear').or_(other.get_by_label('Remove')).first.click()
    other.locator('#input img').wait_for(state='detached')
    gate.set()
    other.get_by_text('Cancelled.').wait_for()
    assert len(evaluations) == 2  # those of the first


@pytest.mark.browser
@needs_chromium
def test_samples_are_chosen_and_adjusted_without_evaluations(page, enhancer, evaluations, night, tmp_path):
    drop(page, night)
    set_number(page, 'Samples', 2)
    click(page, 'Enhance')
    page.get_by_text('40 x 48 pixels, sample 2 of 2, 2 evaluations, ').wait_for()
    wait_for_download(page)
    assert len(evaluations) == 4
    tiles = page.locator('#samples button')
    assert [tile.inner_text().strip() for tile in tiles.all()] == ['input', 'seed 0', 'seed 1']
    tiles.nth(2).click()
    strength = page.get_by_label('range slider for Strength')
    strength.focus()
    for _ in range(10):  # steps of 0.05
        strength.press('ArrowLeft')
    strength.dispatch_event('pointerup')

    dark = read_photograph(night).pixels
    rgb, convert_back = image_to_tensor(dark)
    expected = convert_back(Controls(strength=0.5)(rgb, enhancer.changed(seed=1)(rgb)))
    del evaluations[:]
    for _ in range(50):  # the file is written after the images are shown
        wait_for_download(page)
        downloaded(page, tmp_path / 'bright.png')
        if np.array_equal(read_photograph(tmp_path / 'bright.png').pixels, expected):
            break
        page.wait_for_timeout(200)
    else:
        pytest.fail('the file does not follow the sliders')
    assert evaluations == []


@pytest.mark.browser
@needs_chromium
def test_shows_errors_and_recovers(page, night, tmp_path):
    (tmp_path / 'damaged.png').write_bytes(night.read_bytes()[:300])
    (tmp_path / 'notes.txt').write_text('no image')
    start = page.get_by_role('button', name='Enhance', exact=True)
    start.wait_for()
    assert start.is_disabled()
    drop(page, night)
    click(page, 'Enhance')
    page.get_by_text('40 x 48 pixels, 2 evaluations, ').wait_for()
    for name in ('damaged.png', 'notes.txt'):
        page.get_by_label('Clear').or_(page.get_by_label('Remove')).first.click()
        page.get_by_text('40 x 48 pixels').wait_for(state='detached')  # the old result goes away
        drop(page, tmp_path / name)
        page.get_by_text(f'{name} cannot be read as an image; it is damaged or its format is not').first.wait_for()
        assert start.is_disabled()
    page.get_by_label('Clear').or_(page.get_by_label('Remove')).first.click()
    drop(page, night)
    click(page, 'Enhance')
    page.get_by_text('40 x 48 pixels, 2 evaluations, ').wait_for()


@pytest.mark.browser
@needs_chromium
def test_jobs_end_when_cancelled_and_when_the_page_closes(page, evaluations, gate, night):
    drop(page, night)
    set_number(page, 'Samples', 4)
    click(page, 'Sampling ▼')
    set_number(page, 'Network evaluations', 10)
    for end in (lambda: click(page, 'Cancel'), page.close):
        click(page, 'Enhance')
        page.get_by_role('button', name='Cancel').wait_for()
        while len(evaluations) < 2:
            page.wait_for_timeout(50)
        gate.clear()
        end()
        gate.set()
        for _ in range(100):
            before = len(evaluations)
            time.sleep(0.5)
            if len(evaluations) == before:
                break
        assert 2 <= len(evaluations) < 40
        if not page.is_closed():
            page.get_by_text('Cancelled.').wait_for()
        del evaluations[:]


@pytest.mark.browser
@needs_chromium
def test_fits_a_phone(page, night):
    page.set_viewport_size({'width': 390, 'height': 844})
    drop(page, night)
    set_number(page, 'Samples', 2)
    click(page, 'Enhance')
    page.get_by_text('sample 2 of 2').wait_for()
    assert page.evaluate('document.documentElement.scrollWidth') <= 390


def test_jobs_stop_whether_they_wait_or_run():
    from basicsr_entropy.inference.page import Jobs, Stopped

    jobs = Jobs()
    for session in ('first', 'second'):
        jobs.begin(session)
    running = jobs.stop_of('first')
    running()
    jobs.end('second')  # before its turn
    running()
    with pytest.raises(Stopped):
        jobs.stop_of('second')()
    jobs.end('first')
    jobs.end('first')
    with pytest.raises(Stopped):
        running()
    jobs.begin('first')  # another job of the same visitor
    jobs.stop_of('first')()
    with pytest.raises(Stopped):
        running()


def test_names_a_port_in_use(enhancer):
    from basicsr_entropy.inference.page import build_app, serve

    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f'cannot listen on 127.0.0.1:{port}: in use'):
            serve(build_app(enhancer, 'tiny'), port=port)
    with pytest.raises(OSError, match='cannot listen on 127.0.0.1:65536: in use, or not an address'):
        serve(build_app(enhancer, 'tiny'), port=65536)


def test_names_a_missing_package(run, monkeypatch):
    monkeypatch.delitem(sys.modules, 'basicsr_entropy.inference.page', raising=False)
    monkeypatch.setitem(sys.modules, 'gradio', None)
    code, _, err = run('app')
    assert code == 1
    assert 'the app needs the package gradio: pip install "basicsr-entropy[app]"' in err
