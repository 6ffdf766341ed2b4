import pytest

from basicsr_entropy.config.files import read_option_file


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / 'a.yml'
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('a: 1\nb:\n  c: 1\n  c: 2\n', "a.yml, line 4: not valid YAML: 'c' is there twice; remove one of them"),
        ('a: 1\na: 1\n', "a.yml, line 2: not valid YAML: 'a' is there twice"),
        ('a: [{b: 1, b: 2}]', "line 1: not valid YAML: 'b' is there twice"),
        ('a: &a [*a]', 'line 1: not valid YAML: an alias of what it stands in'),
        ('a: [1', 'line 1: not valid YAML'),
        ('- 1', 'an option file is a mapping of options, got list'),
        ('', 'an option file is a mapping of options, got NoneType'),
        (b'\xff\xfea: 1', 'a.yml: not a text file in UTF-8'),
    ],
)
def test_what_is_no_option_file_is_named(write, content, message):
    with pytest.raises(ValueError, match=message):
        read_option_file(write(content))


def test_reads_anchors_merges_and_a_byte_order_mark(write):
    text = '\ufeffa: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, z: !!float 1e3}\nd: {<<: *a, <<: *b}\n'
    assert read_option_file(write(text)) == {
        'a': {'x': 1, 'y': 1},
        'b': {'x': 2, 'y': 1},
        'c': {'x': 2, 'y': 1, 'z': 1000.0},
        'd': {'x': 2, 'y': 1},
    }


def test_python_in_an_option_file_is_not_run(write, tmp_path):
    path = write(f'a: !!python/object/apply:os.mkdir ["{tmp_path}/ran"]')
    with pytest.raises(ValueError, match='could not determine a constructor'):
        read_option_file(path)
    assert not (tmp_path / 'ran').exists()


def test_sections_of_one_anchor_are_objects_of_their_own(write):
    """BasicSR takes `type` out of a section, which must be there in the other still."""
    options = read_option_file(write('a: &a {type: Adam, betas: [0, 1]}\nb: *a\n'))
    assert options['a'] == options['b']
    assert options['a'] is not options['b']
    assert options['a']['betas'] is not options['b']['betas']
