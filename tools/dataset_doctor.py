"""Examine a panoptic data set before days of training are spent on it.

python tools/dataset_doctor.py data/coco/annotations/panoptic_train2017.json --config CONFIG
python tools/dataset_doctor.py PANOPTIC_JSON --images FOLDER --segs FOLDER --json report.json
python tools/dataset_doctor.py PANOPTIC_JSON --val PANOPTIC_JSON_OF_VAL    # photos in both
python tools/dataset_doctor.py PANOPTIC_JSON --against instances.json      # merged, split and skipped instances
python tools/dataset_doctor.py PANOPTIC_JSON --fix                         # corrected copies next to the data

Exit status: 0 no errors, 1 errors were found (with --strict also for warnings), 2 the data could not be examined.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mmseg_oneformer.command_line import Parser, cli_errors, loading
from mmseg_oneformer.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('panoptic_json', metavar='PANOPTIC_JSON', help="annotations in COCO's panoptic format")
    parser.add_argument(
        '--config', help='config or name of a model, with whose folders and classes the data are compared'
    )
    parser.add_argument(
        '--images', metavar='FOLDER', help="folder of the photos (default: the config's, or next to the JSON)"
    )
    parser.add_argument(
        '--segs', metavar='FOLDER', help="folder of the PNGs (default: the config's, or next to the JSON)"
    )
    parser.add_argument('--val', metavar='PANOPTIC_JSON', help='validation data, which may not share photos with these')
    parser.add_argument('--val-images', metavar='FOLDER', help='folder of the validation photos')
    parser.add_argument('--against', metavar='INSTANCES_JSON', help='instance annotation of the same photos')
    parser.add_argument('--deep', action='store_true', help='decode all photos, not only their headers and ends')
    parser.add_argument('--fix', action='store_true', help='write corrected copies next to the data')
    parser.add_argument('--json', metavar='FILE', help='write all findings to this file')
    parser.add_argument('--strict', action='store_true', help='treat warnings as errors in the exit status')
    parser.add_argument('--jobs', type=int, help='number of processes (default: all cores)')
    return parser.parse_args(argv)


with loading(__name__, parse_args):
    import mmseg_oneformer  # noqa: F401, I001  (first: makes the OpenMMLab wheels importable)

    from mmseg_oneformer.datasets.doctor import (
        Fixes,
        available_cores,
        counts_by_severity,
        examine,
        fix,
        fixed_paths,
        format_report,
        open_source,
        report_dict,
    )
    from mmseg_oneformer.files import check_not_input, check_writable, write_atomic
    from mmseg_oneformer.memory import keep_freed_memory
    from mmseg_oneformer.zoo.configs import read_config


def describe_fixes(fixes: Fixes | None) -> str:
    """Return what ``--fix`` wrote, and how to use it."""
    if fixes is None:
        return 'Nothing that --fix could correct.'
    seg = f", data_prefix=dict(seg='{fixes.maps}')" if fixes.maps is not None else '; the PNGs are as before'
    count = f'{len(fixes.changes)} change{"s" * (len(fixes.changes) != 1)}'
    return f"{count}, listed in {fixes.listed}. To use the corrected data:\n  ann_file='{fixes.json}'{seg}"


@cli_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Examine, report and correct the data set."""
    args = parse_args(argv)
    jobs = available_cores() if args.jobs is None else args.jobs
    if jobs < 1:
        raise UserError(f'--jobs must be at least 1, got {jobs}.')
    if args.fix:
        fixed_paths(args.panoptic_json)  # Before the work, not after it.
    if args.json is not None:
        check_writable(args.json)
        if Path(args.json).suffix != '.json':  # It could be a photo or a PNG.
            raise UserError(f'--json is {args.json}, which does not end in .json; give the name of a report.')
        check_not_input(args.json, args.panoptic_json, args.val, args.against, args.config)
    cfg = read_config(args.config) if args.config is not None else None
    source = open_source(args.panoptic_json, cfg, args.images, args.segs)
    val = open_source(args.val, cfg, args.val_images, need_maps=False) if args.val is not None else None
    # Otherwise each map gets new pages, and zeroing them takes 40 % of the time.
    keep_freed_memory()
    examination = examine(source, val, args.against, args.deep, jobs)
    fixes = fix(examination) if args.fix else None
    if args.json is not None:
        write_atomic(Path(args.json), json.dumps(report_dict(examination, fixes), indent=1) + '\n')
    print(format_report(examination), flush=True)
    if args.fix:
        print(f'\n{describe_fixes(fixes)}', flush=True)
    counts = counts_by_severity(examination)
    if counts['error'] or (args.strict and counts['warning']):
        sys.exit(1)


if __name__ == '__main__':
    main()
