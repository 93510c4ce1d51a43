#!/usr/bin/env bash
# What a GPU computes and how fast, in ten minutes: parts of at most a minute, the most important first. What is finished
# stays finished if the script is cut off, and the same command does the rest.
#   bash benchmarks/gpu.sh [OUT]                              # results in OUT (default: work_dirs/gpu)
#   DEVICE=cpu TINY='KEY=VALUE ...' bash benchmarks/gpu.sh    # a rehearsal: small inputs, config options for small models
# PYTHON chooses the interpreter, CUDA_VISIBLE_DEVICES the GPU.
set -euo pipefail
OUT=$(realpath -m "${1:-work_dirs/gpu}")
cd "$(dirname "$0")/.."
PART_SECONDS=58 ALL_SECONDS=580
. benchmarks/parts.sh

runs=(--runs 10 --warmup 3) large=(--size 1024 --batch 8) sizes=('640' '1024 2048') step=(--size 512)
photos=24 pictures=(--size 256 --train 800 --val 8) shrink=()
train=(train_cfg.max_iters=200 train_cfg.val_interval=200)
if [ -n "$TINY" ]; then
    ALL_SECONDS= runs=(--runs 1 --warmup 0) large=(--size 64 --batch 1) sizes=('64 128') step=(--size 64)
    photos=2 pictures=(--size 64 --train 4 --val 2) shrink=(--segments 5 --cfg-options $TINY)
    train=(train_cfg.max_iters=2 train_cfg.val_interval=2 train_dataloader.batch_size=2 default_hooks.logger.interval=1)
fi

peer=(--against transformers) triton=yes
if ! can 'import transformers'; then
    record transformers missing 0 'inference is measured without it; pip install transformers'
    peer=()
fi
if ! can 'import triton'; then
    record triton missing 0 'attention and compiled networks are not measured; pip install triton'
    triton=
fi

part equality "$PYTHON" -m benchmarks.device_equality --device "$DEVICE" --photos $photos --out "$OUT/equality.json"

# Deformable attention: each form as a share of the bandwidth of a copy.
attention() { measure "attention-$1" attention "${large[@]}" "${runs[@]}" "${@:2}"; }
if [ -n "$triton" ]; then
    for dtype in fp32 bf16; do
        attention $dtype --dtype $dtype --against copy plain
        attention $dtype-compiled --dtype $dtype --against copy compiled
    done
    if can 'from mmseg_oneformer.compat import compiled_ms_deform_attn; assert compiled_ms_deform_attn()'; then
        attention fp32-mmcv --against copy mmcv
    else
        record mmcv missing 0 'its attention is not measured, and Mask2Former runs with ours; build mmcv with its operators'
    fi
fi

# 200 iterations in bf16, in which every loss has to be a number.
export SHAPES_256=$OUT/shapes/
part shapes "$PYTHON" tools/dataset_converters/make_shapes.py --out "$OUT/shapes" "${pictures[@]}"
part train-bf16 "$PYTHON" tools/train.py benchmarks/configs/oneformer_r50_shapes_256.py --amp --resume \
    --work-dir "$OUT/train-bf16" --cfg-options optim_wrapper.dtype=bfloat16 "${train[@]}"
part train-bf16-finite bash -c "finite '$OUT/train-bf16'"

infer() { # swin-t|swin-l SIZE FORMAT ARGUMENTS...
    local name=oneformer_swin-t_8xb2-160k_ade20k-512x512
    if [ "$1" = swin-l ]; then name=oneformer_swin-l_8xb2-160k_ade20k-640x640; fi
    measure "infer-$1-${2// /x}-$3" infer --model $name --size $2 "${runs[@]}" "${peer[@]}" "${@:4}" "${shrink[@]}"
}
for dtype in fp32 bf16; do
    for size in "${sizes[@]}"; do infer swin-t "$size" $dtype --dtype $dtype; done
    measure step-swin-t-$dtype train --against mask2former --dtype $dtype "${step[@]}" "${runs[@]}" "${shrink[@]}"
done
for size in "${sizes[@]}"; do
    for dtype in fp32 bf16; do infer swin-l "$size" $dtype --dtype $dtype; done
done
if [ -n "$triton" ]; then
    for model in swin-t swin-l; do
        for size in "${sizes[@]}"; do infer $model "$size" bf16-compiled --dtype bf16 --compile; done
    done
fi

for rows in attention infer-swin-t infer-swin-l step-swin-t; do
    if compgen -G "$OUT/$rows-*.json" > /dev/null; then
        printf '\n## %s\n\n' $rows
        "$PYTHON" tools/analysis_tools/benchmark.py report "$OUT/$rows"-*.json
    fi
done | tee "$OUT/report.md"
exit $FAILED
