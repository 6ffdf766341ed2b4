"""The page in a real browser that may contact no other host."""

import shutil
import socket
import sys

import numpy as np
import pytest
from helpers import photograph
from PIL import Image

from basicsr_entropy.inference.enhancer import Enhancer
from basicsr_entropy.inference.files import read_photograph

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


def drop(page, path):
    page.set_input_files('input[type=file]', path)
    page.get_by_role('button', name='Enhance', exact=True).click()


def before_and_after(page):
    """The two images of the slider, which may appear after the line below them."""
    images = page.get_by_test_id('imageslider-image')
    return [images.nth(i).element_handle() for i in range(2)]


@pytest.mark.browser
@needs_chromium
def test_enhances_a_dropped_photograph(page, enhancer, tmp_path):
    night = tmp_path / 'night.png'
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, 'Maker'
    Image.fromarray(photograph(1) // 8).save(night, exif=tags.tobytes())

    page.get_by_label('Seed').fill('7')
    drop(page, night)
    page.get_by_text('40 x 48 pixels, 2 evaluations, ').wait_for()  # upright, as EXIF says
    for shown in before_and_after(page):
        page.wait_for_function('image => image.naturalWidth == 40 && image.naturalHeight == 48', arg=shown)
    assert len({image.get_attribute('src') for image in before_and_after(page)}) == 2
    with page.expect_download() as download:
        page.get_by_role('button', name='Download').last.click()
    download.value.save_as(tmp_path / 'bright.png')

    assert download.value.suggested_filename == 'night_enhanced.png'
    dark, bright = read_photograph(night), read_photograph(tmp_path / 'bright.png')
    assert (bright.exif, bright.orientation) == (dark.exif, dark.orientation)
    assert np.array_equal(bright.pixels, enhancer.changed(seed=7)(dark.pixels))


@pytest.mark.browser
@needs_chromium
def test_shows_errors_and_recovers(page, tmp_path):
    damaged, night = tmp_path / 'damaged.png', tmp_path / 'night.png'
    Image.fromarray(photograph(1) // 8).save(night)
    damaged.write_bytes(night.read_bytes()[:300])
    page.get_by_role('button', name='Enhance', exact=True).click()
    page.get_by_text('Drop a photograph first.').wait_for()
    drop(page, damaged)
    page.get_by_text('damaged.png cannot be read as an image').wait_for()
    page.get_by_label('Remove Image').or_(page.get_by_label('Clear')).first.click()
    drop(page, night)
    page.get_by_text('48 x 40 pixels, 2 evaluations, ').wait_for()


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
