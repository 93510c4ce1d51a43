"""32 learned text context vectors instead of 16.

Reproduces: paper, Table II, ADE20K with R50: PQ 41.7, AP 27.5, mIoU 46.8
            (16 vectors: 41.9, 27.3, 47.3).
Needs:      ADE20K in data/ade (see data/README.md); 8 GPUs of 48 GB, 2 images each.
Command:    bash tools/dist_train.sh table-ii_32-context 8 --amp
"""

_base_ = '../ade20k/oneformer_r50_8xb2-160k_ade20k-512x512.py'
model = dict(text_mapper=dict(num_context=32))
