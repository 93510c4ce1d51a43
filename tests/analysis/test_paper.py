"""The declaration of the paper's tables names configs that exist and repeats no number wrongly."""

import re

import pytest

from mmseg_oneformer.analysis.paper import METRICS, load_paper, select
from mmseg_oneformer.models.skeleton import count_parameters, one_task_skeleton
from mmseg_oneformer.zoo.configs import find_config, read_config
from mmseg_oneformer.zoo.metafile import read_zoo

TABLES = {table.number: table for table in load_paper()}
ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
OURS = [(table, row) for table, row in ROWS if row.config is not None]


def test_paper__has_all_tables():
    assert list(TABLES) == ['1', '2', '3', '4', '5', '6', '7', '8', 'I', 'II', 'III', 'IV', 'V', 'VI', 'VII', 'VIII']
    sizes = {number: len(table.rows) for number, table in TABLES.items()}
    assert list(sizes.values()) == [19, 12, 10, 4, 3, 3, 2, 3, 4, 4, 3, 8, 3, 22, 19, 8]


def test_paper__images_are_those_of_the_validation_sets():
    photos = {'ade20k': 2000, 'cityscapes': 500, 'coco': 5000}
    for table in TABLES.values():
        (data,) = {name for name in photos if name in table.caption.lower().replace(' ', '')}
        assert table.images == photos[data], table.number


def test_paper__every_config_exists_and_every_row_says_something():
    for table, row in ROWS:
        if row.config is not None:
            assert find_config(row.config).stem == row.config
        assert any(column in row.published for column in METRICS), (table.number, row)
        assert all(0 <= row.published[name] <= 100 for name in METRICS if name in row.published)


def test_paper__says_what_the_zoo_says():
    zoo, compared = read_zoo(), 0
    for table, row in OURS:
        if row.config not in zoo or row.token is not None:
            continue
        theirs = zoo[row.config].metrics
        for column, name in {**{metric: metric for metric in METRICS}, 'mIoU_ms': 'mIoU(ms+flip)'}.items():
            if column in row.published and (row.config, column) != (
                'oneformer_dinat-l_8xb2-160k_ade20k-1280x1280',
                'mIoU',
            ):  # 58.2 in the paper, 58.3 in the README
                assert row.published[column] == theirs[name], (table.number, row.config, column)
                compared += 1
    assert compared > 100


def test_paper__columns_agree_with_the_configs():
    """Queries, crop and iterations as the configs have them; 47M, 216M, 219M ... as the models have them."""
    parameters, checked = {}, 0
    for table, row in OURS:
        cfg = read_config(row.config)
        said = row.published
        if 'queries' in said:
            assert said['queries'] == cfg.model.head.num_queries
        if 'iterations' in said:
            assert said['iterations'] == f'{cfg.train_cfg.max_iters // 1000}k'
        if 'crop' in said:
            assert re.fullmatch(rf'.*-{said["crop"]}(x{said["crop"]})?', row.config)
        if 'context' in said:
            assert said['context'] == cfg.model.text_mapper.num_context
        if 'weight' in said:
            assert said['weight'] == sum(term.weight for term in cfg.model.criterion.auxiliary)
        if 'params' in said:
            if row.config not in parameters:
                parameters[row.config] = count_parameters(one_task_skeleton(cfg))
            assert round(parameters[row.config] / 1e6) == said['params'], (table.number, row.config)
            checked += 1
    assert checked > 30


def kind(row):
    """What a row of one table and the same row of another share; the batch size is left out in the later tables."""
    return (row.published['method'].split(' (')[0], row.published['backbone'], row.published.get('crop'))


def test_paper__later_tables_differ_from_earlier_ones_only_where_noted():
    differing, compared = set(), 0
    for first, later in (('1', 'VI'), ('2', 'VII'), ('3', 'VIII')):
        for row in TABLES[later].rows:
            earlier = [other.published for other in TABLES[first].rows if kind(other) == kind(row)]
            if len(earlier) != 1 or row.published['extra_data']:
                continue
            shared = {'params', *METRICS} & set(earlier[0]) & set(row.published)
            differing |= {(later, kind(row)[0], name) for name in shared if earlier[0][name] != row.published[name]}
            compared += len(shared)
    assert differing == {('VI', 'Mask2Former-Panoptic', 'PQ'), ('VI', 'Mask2Former-Semantic', 'params')}
    assert compared > 100


def test_select__tables_columns_and_rows():
    tables = select(list(TABLES.values()), ['iv', '1'], ['PQ', 'method'], only_ours=True)
    assert [table.number for table in tables] == ['IV', '1']
    assert [table.columns for table in tables] == [['method', 'PQ'], ['method', 'PQ']]
    for table in tables:
        assert table.rows == [row for row in TABLES[table.number].rows if row.config is not None]
    with pytest.raises(ValueError, match='no Table 9'):
        select(list(TABLES.values()), ['9'])
    with pytest.raises(ValueError, match='no table has a column "PG"'):
        select(list(TABLES.values()), columns=['PG'])


TEMPLATE = 'tables: [{{table: A, caption: c, columns: [method, {column}], rows: [{{method: a, {field}}}]}}]'


@pytest.mark.parametrize(
    ('column', 'field', 'message'),
    [
        ('PG', 'PQ: 1.0', 'Table A has the unknown key or column "PG"'),
        ('PQ', 'PG: 1.0', 'Table A has the unknown key "PG"'),
        ('PQ', 'token: joint', 'unknown token "joint"'),
    ],
)
def test_load_paper__mistakes(tmp_path, column, field, message):
    path = tmp_path / 'paper.yml'
    path.write_text(TEMPLATE.format(column=column, field=field))
    with pytest.raises(ValueError, match=message):
        load_paper(path)
