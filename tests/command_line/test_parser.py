import pytest

from mmseg_oneformer.command_line import Parser, add_tasks_argument


def parser():
    parser = Parser(prog='tool')
    parser.add_argument('--work-dir')
    parser.add_argument('--launcher', choices=['none', 'slurm'])
    add_tasks_argument(parser)
    command = parser.add_subparsers(dest='command', required=True).add_parser('draw')
    command.add_argument('--out-dir')
    return parser


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        (['draw', '--workdir', 'x'], 'unrecognized arguments: --workdir x (did you mean "--work-dir"?)'),
        (['draw', '--outdir=x'], 'unrecognized arguments: --outdir=x (did you mean "--out-dir"?)'),
        (['draw', '--zzz'], 'unrecognized arguments: --zzz\n'),
        (['draw', 'x'], 'unrecognized arguments: x\n'),
        (['--launcher', 'slurmm', 'draw'], '(did you mean "slurm"?)'),
        (['drow'], '(did you mean "draw"?)'),
    ],
)
def test_parser__names_what_is_most_like_it(capsys, words, sentence):
    with pytest.raises(SystemExit, match='2'):
        parser().parse_args(words)
    assert sentence in capsys.readouterr().err


def test_parser__reads_what_there_is():
    args = parser().parse_args(['--work-dir', 'x', 'draw', '--out-dir', 'y'])
    assert (args.work_dir, args.out_dir, args.command) == ('x', 'y', 'draw')
    with pytest.raises(ValueError, match=r'unknown task .panoptik. \(did you mean "panoptic"\?\); choose from'):
        parser().parse_args(['--tasks', 'panoptik'])
