"""Files beside the code agree with it: the version, the pins of pre-commit, forms and workflows."""

import re
from pathlib import Path

import pytest
import yaml

from mmseg_oneformer.version import __version__

ROOT = Path(__file__).resolve().parents[1]
HOOKS = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())['repos']
FORMS = [path for path in sorted((ROOT / '.github/ISSUE_TEMPLATE').glob('*.yml')) if path.name != 'config.yml']


def test_version__is_the_same_everywhere():
    released = re.findall(r'^## ([\d.]+) - (\d{4}-\d\d-\d\d)$', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert released[0][0] == citation['version'] == __version__
    assert released[0][1] == str(citation['date-released'])
    assert f'"version":"{__version__}"' in (ROOT / 'docs/serving.md').read_text()


def test_pre_commit__has_the_ruff_of_the_constraints():
    (revision,) = [one['rev'] for one in HOOKS if one['repo'].endswith('/ruff-pre-commit')]
    assert f'ruff=={revision.removeprefix("v")}' in (ROOT / 'requirements/constraints.txt').read_text().split()


def test_workflow__runs_what_a_developer_can_run():
    (job,) = yaml.safe_load((ROOT / '.github/workflows/ci.yml').read_text())['jobs'].values()
    commands = [step['run'] for step in job['steps'] if 'run' in step]
    assert commands == ['.ci/run'] and (ROOT / '.ci/run').stat().st_mode & 0o111


@pytest.mark.parametrize('path', FORMS, ids=lambda path: path.stem)
def test_issue_forms__have_what_the_platform_requires(path):
    form = yaml.safe_load(path.read_text())
    assert form['name'] and form['description']
    fields = [field for field in form['body'] if field['type'] != 'markdown']
    assert len({field['id'] for field in fields}) == len(fields) > 0 and all(f['attributes']['label'] for f in fields)
    linked = re.findall(r'\.\./blob/main/([\w./]+)', path.read_text())
    assert not [link for link in linked if not (ROOT / link).exists()]
