"""Hooks of the documentation site.

They add the pages that are made of files outside `docs/` and of notebooks, and fail the build if a page would load
anything from another host.
"""

import base64
import json
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {'README.md': 'index.md', 'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md'}
ADDRESS = r'(?:https?:)?//[^\s"\'>]+'
# elements that a browser loads by itself, unlike a link that is followed
LOADED = re.compile(
    rf'<(?:script|img|iframe|source|video)\b[^>]*\ssrc=["\']?({ADDRESS})'
    rf'|<link\b(?=[^>]*rel=["\']?(?:stylesheet|preconnect|preload|icon))[^>]*href=["\']?({ADDRESS})'
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of files in the root of the repository, and a page for each notebook."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding='utf-8')
        files.append(File.generated(config, page, content=text.replace('](docs/', '](')))
    for notebook in sorted(Path(config.docs_dir, 'notebooks').glob('*.ipynb')):
        for name, content in notebook_page(notebook).items():
            files.append(File.generated(config, f'notebooks/{name}', content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links to files in the root of the repository, and to notebooks, at their pages."""
    for source, target in PAGES.items():
        markdown = re.sub(rf'\]\((?:\.\./)?{source}(?=[)#])', f']({target}', markdown)
    return re.sub(r'(\]\([\w./]+)\.ipynb\)(?!\{)', r'\1.md)', markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Fails if a page loads anything from another host."""
    for path in Path(config.site_dir).rglob('*.html'):
        if match := LOADED.search(path.read_text(encoding='utf-8')):
            address = next(filter(None, match.groups()))
            raise PluginError(f'{path} loads {address}: the site must work without a network')


def notebook_page(path: Path) -> dict[str, str | bytes]:
    """The Markdown page of an executed notebook and its plots, by file name.

    Raises:
        PluginError: If a cell has not been executed, or raised an error.
    """
    parts: list[str] = []
    plots: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown':
            parts.append(source)
            if len(parts) == 1:
                parts.append(f'[Download this notebook]({path.name}){{ download="{path.name}" }}')
            continue
        if cell['execution_count'] is None:
            raise PluginError(f'{path.name}: a cell has not been executed; run `make notebook`')
        parts.append(f'```python\n{source}\n```')
        for output in cell['outputs']:
            if output['output_type'] == 'error':
                raise PluginError(f'{path.name}: a cell raised {output["ename"]}')
            data = output.get('data', {})
            if 'image/png' in data:
                name = f'{path.stem}_{len(plots) + 1}.png'
                plots[name] = base64.b64decode(data['image/png'])
                parts.append(f'![Output of the cell above]({name})')
            elif text := ''.join(output.get('text') or data.get('text/plain', '')):
                parts.append(f'```text\n{text.rstrip()}\n```')
    return {f'{path.stem}.md': '\n\n'.join(parts) + '\n', **plots}
