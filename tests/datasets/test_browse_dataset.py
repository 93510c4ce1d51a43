import numpy as np
import pytest
from PIL import Image

from mmseg_oneformer.datasets.coco import CocoPanoptic
from mmseg_oneformer.datasets.panoptic import PanopticDataset
from mmseg_oneformer.tasks import TASKS

TOOL = 'analysis_tools/browse_dataset.py'


@pytest.fixture
def config(toy, train_pipeline):
    """Write a config over the toy data and return its path."""

    def write(pipeline=train_pipeline):
        data = dict(type='PanopticDataset', **{**toy.config(), 'pipeline': pipeline})
        path = toy.folder / 'toy_browse.py'
        path.write_text(f'train_dataloader = dict(dataset={data!r})\n')
        return path

    return write


def test_browse__a_page_for_each_sample(load_tool, config, tmp_path, capsys):
    load_tool(TOOL).main([str(config()), '--output-dir', str(tmp_path / 'out'), '--num', '2'])
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['1.png', '2.png']
    page = np.asarray(Image.open(tmp_path / 'out/1.png'))
    assert page.shape[1] > 3 * page.shape[0] / 2 and page.std() > 10
    assert '2 pictures' in capsys.readouterr().out


def test_browse__same_crop_under_every_task(load_tool, config):
    tool = load_tool(TOOL)
    built = tool.datasets_by_task(tool.read_config(config()))
    samples = [built[task][5, 0] for task in TASKS]
    assert [sample['data_samples'].task for sample in samples] == list(TASKS)
    assert all((sample['inputs'] == samples[0]['inputs']).all() for sample in samples)
    assert isinstance(built['semantic'], PanopticDataset) and not isinstance(built['semantic'], CocoPanoptic)


def test_browse__config_without_tasks(load_tool, config, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        load_tool(TOOL).main([str(config(pipeline=[])), '--output-dir', str(tmp_path / 'out')])
    assert stopped.value.code == 2 and 'no SampleTask' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_browse__says_the_prompt_and_the_texts(load_tool, config):
    tool = load_tool(TOOL)
    samples = {
        task: built[5, 0]['data_samples'] for task, built in tool.datasets_by_task(tool.read_config(config())).items()
    }
    lines = tool.text_lines(samples['instance'])
    assert lines[0] == 'token: "the task is instance"' and lines[-1] == 'then "an instance photo"'
    counted = [line.split(' x ') for line in lines[1:-1]]
    assert sum(int(count) for count, _ in counted) == len(samples['instance'].gt_instances.labels)
    del samples['semantic'].texts  # a pipeline without the contrastive loss
    assert tool.text_lines(samples['semantic']) == ['token: "the task is semantic"']
    assert tool.input_lines(samples['panoptic'], np.zeros((32, 48, 3)))[1].endswith('fed as 48 x 32')
