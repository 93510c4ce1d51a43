"""Run Python blocks as one program: a line of JSON for each comes in, its traceback or null goes out."""

import json
import os
import sys
import traceback

replies = os.fdopen(os.dup(1), 'w')
os.dup2(2, 1)  # What a block prints goes beside its errors.
names = {'__name__': '__main__'}
for line in sys.stdin:
    block = json.loads(line)
    names.update(block.get('names', {}))
    try:
        exec(compile('\n' * block['line'] + block['code'], block['page'], 'exec'), names)
        reply = None
    except BaseException:  # noqa: BLE001 (told to the page that is tested)
        reply = traceback.format_exc()
    print(json.dumps(reply), file=replies, flush=True)
