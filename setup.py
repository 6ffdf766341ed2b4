import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r"^__version__ = '(.+)'$", (here / 'basicsr_entropy/__init__.py').read_text(), re.MULTILINE)[1]

setup(
    name='basicsr-entropy',
    version=version,
    description='Differentiable spatial entropy and mean-reverting diffusion for low-light images, a BasicSR plugin',
    long_description=(here / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['basicsr_entropy', 'basicsr_entropy.*']),
    package_data={
        'basicsr_entropy': ['weights/*.safetensors'],
        'basicsr_entropy.config': ['templates/**/*'],
        'basicsr_entropy.entropy.backends': ['*.c'],
    },
    install_requires=[
        'torch>=2.4',
        'torchvision',
        'basicsr>=1.4.2,<1.5',
        'mmengine>=0.10.7',
        'einops>=0.7',
        'jinja2>=3.1',
        'lmdb>=1.4',
        'opencv-python>=4.12',
        'numpy',
        'pillow>=12',
        'pyyaml',
        'rich',
        'safetensors>=0.4',
        'scikit-image>=0.22',
        'tqdm',
    ],
    extras_require={
        'app': ['gradio>=6'],
        'lion': ['lion-pytorch>=0.2'],
        'lpips': ['lpips>=0.1.4'],
        # CUDA builds of torch bring Triton along; the tests run its kernel in its interpreter where there is no GPU
        'dev': [
            'playwright>=1.50',
            'pytest>=8',
            'ruff>=0.9',
            'tifffile',
            'triton>=3.6; platform_system == "Linux"',
        ],
    },
    entry_points={'console_scripts': ['basicsr-entropy=basicsr_entropy.cli:main']},
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
)
