"""One rule for every kind of value in annotation files."""

import math

import pytest

from mmseg_oneformer.annotations.faults import Fault, raise_faults
from mmseg_oneformer.annotations.values import (
    InvalidValueError,
    as_file_name,
    as_flag,
    as_integer,
    as_key,
    as_name,
    as_number,
    as_side,
)
from mmseg_oneformer.errors import UserError

NO_NUMBERS = [None, True, False, '', 'x', '3.5', 3.5, math.nan, math.inf, [], {}, [3], 10**400, '0x10', '1e3', '٣']


@pytest.mark.parametrize('value', [300, 300.0, '300', ' 300', '300.0'])
def test_as_integer__one_id_in_every_form(value):
    assert as_integer(value) == 300 and type(as_integer(value)) is int
    assert as_key(value) == 300


@pytest.mark.parametrize('value', NO_NUMBERS)
def test_as_integer__anything_else_is_invalid(value):
    with pytest.raises(InvalidValueError, match='not a whole number'):
        as_integer(value)


def test_as_key__names_stay_text():
    assert as_key('frankfurt_000000_000294') == 'frankfurt_000000_000294'
    assert as_key('000123') == '000123'  # not the image 123
    for value in ('', None, True, 3.5, ['a'], math.nan):
        with pytest.raises(InvalidValueError):
            as_key(value)


@pytest.mark.parametrize(
    ('value', 'flag'),
    [(0, False), (1, True), ('0', False), ('1', True), ('false', False), ('True', True), (0.0, False), (None, False)],
)
def test_as_flag__text_is_not_true_because_it_is_there(value, flag):
    assert as_flag(value) is flag


@pytest.mark.parametrize('value', [2, -1, 'no idea', '', [], math.nan])
def test_as_flag__anything_else_is_invalid(value):
    with pytest.raises(InvalidValueError, match='neither 0 nor 1'):
        as_flag(value)


def test_as_number__finite_ones():
    assert as_number('1.5') == 1.5 and as_number(2) == 2.0
    for value in (math.nan, math.inf, 'nan', '1e999', 10**400, None, True, [1]):
        with pytest.raises(InvalidValueError, match='not a finite number'):
            as_number(value)


def test_as_side__pixels():
    assert as_side('64') == 64
    for value in (0, -3, 10**7, '64.5', None):
        with pytest.raises(InvalidValueError):
            as_side(value)


def test_as_name__text():
    assert as_name('window ') == 'window '  # ADE20K's blank is part of its name
    for value in (5, None, False, '', '  ', 'half \ud800 character'):
        with pytest.raises(InvalidValueError):
            as_name(value)


def test_as_file_name__below_its_folder():
    assert as_file_name('images\\a.jpg') == 'images/a.jpg'
    assert as_file_name('./a..b.jpg') == './a..b.jpg'
    assert as_file_name('9' * 251 + '.png')
    for value in (
        '../a.png',
        'a/../../b.png',
        '/etc/a.png',
        'C:\\a.png',
        '..\\a.png',
        '',
        '.',
        'a\0b',
        '9' * 256,
        'ä' * 128,
        'a/' * 3000 + 'a.png',
        '\ud800',
        3,
        None,
    ):
        with pytest.raises(InvalidValueError):
            as_file_name(value)


def test_raise_faults__one_is_a_sentence_several_are_counted():
    faults = [Fault('rule', f'annotation {k}', 'has no outline', 'draw one') for k in range(9)]
    raise_faults('a.json', [])
    with pytest.raises(UserError, match=r'^a\.json: annotation 0 has no outline; draw one\.$'):
        raise_faults('a.json', faults[:1])
    with pytest.raises(UserError) as error:
        raise_faults('a.json', faults)
    assert 'has 9 faults' in str(error.value)
    assert 'annotation 4 ' in str(error.value) and 'annotation 5 ' not in str(error.value)
