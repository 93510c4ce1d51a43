import itertools

import pytest
from mmengine.config import DictAction

from mmseg_oneformer.errors import UserError
from mmseg_oneformer.zoo.cfg_options import read_options, read_value

WORDS = ('1', '-2', '1e-4', '.5', 'true', 'False', 'None', 'abc', 'a.b', 'x=y', '1_0', 'https://x/y?z=1&q', 'inf', '')
FORMS = ('{}', '{},{}', '[{},{}]', '({},{})', '[({},{}),{}]', '(({},),{})', '[{},]', '({})', '[[{}],[]]', '{},({},{})')


def test_read_value__is_that_of_mmengine_in_all_forms_that_it_knows():
    words = itertools.cycle(WORDS)
    for form, _ in itertools.product(FORMS, range(len(WORDS))):
        text = form.format(*itertools.islice(words, form.count('{}')))
        assert repr(read_value(text)) == repr(DictAction._parse_iterable(text)), text


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ("[dict(type='EMAHook',momentum=0.001)]", [{'type': 'EMAHook', 'momentum': 0.001}]),
        ('dict(type=mmdet.ResNet,lr=-1e-3,flip=true)', {'type': 'mmdet.ResNet', 'lr': -0.001, 'flip': True}),
        ('[{x:[a,None]}]', [{'x': ['a', None]}]),
        ("{'a b':1}", {'a b': 1}),
        ('{a:(1,2)}', {'a': (1, 2)}),
        ('dict(a=1),2', [{'a': 1}, 2]),
        ("['traffic light','a,b']", ['traffic light', 'a,b']),
        ('my runs', 'my runs'),
        ("'3'", '3'),
        ("'a(b'", 'a(b'),
        ("Peter's", "Peter's"),
        ('[],[1]', [[], [1]]),
    ],
)
def test_read_value__what_mmengine_fails_at(text, value):
    assert read_value(text) == value


@pytest.mark.parametrize(
    ('pair', 'sentence'),
    [
        ('custom_hooks=[dict(type=EMAHook)', r'a "\]" is missing at its end'),
        ('a=[1,2', r'a "\]" is missing'),
        ('a=1]', r'there is one "\]" too many; quote text that has brackets'),
        ('a=(1,2]', 'too many'),
        ('a="x', 'is missing at its end'),
        ('a=dict(1)', r'is not a dict of settings; write dict\(key=1'),
        ('a=dict(**x)', 'is not a dict of settings'),
        ("a=dict(x=open('y'))", 'is not a dict of settings'),
        ('a={1}', 'is not a dict of settings'),
        ('a', r"takes KEY=VALUE, not 'a'"),
        ('=3', "takes KEY=VALUE, not '=3'"),
    ],
)
def test_read_options__mistakes(pair, sentence):
    with pytest.raises(UserError, match=sentence):
        read_options([pair])
