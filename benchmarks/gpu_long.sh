#!/usr/bin/env bash
# Experiments of hours on a GPU; what is finished is not repeated, and trainings go on from their last checkpoint.
#   bash benchmarks/gpu_long.sh [OUT]                              # results in OUT (default: work_dirs/gpu_long)
#   DEVICE=cpu TINY='KEY=VALUE ...' bash benchmarks/gpu_long.sh    # a rehearsal, as with gpu.sh
# PYTHON chooses the interpreter, CUDA_VISIBLE_DEVICES the GPUs; trainings run on all of them, one each.
set -euo pipefail
OUT=$(realpath -m "${1:-work_dirs/gpu_long}")
cd "$(dirname "$0")/.."
. benchmarks/parts.sh

config=benchmarks/configs/oneformer_r50_shapes_256.py
tests=(tests -m 'not slow') pictures=(--size 256) seeds=(0 1) short=() flags=() photos=24 side=256
runs=(--runs 20 --warmup 3) size=640 batches=1,8 attention=(--size 512 1024 --batch 1 2 8) shrink=()
if [ -n "$TINY" ]; then
    tests=(tests/test_layers.py) pictures=(--size 64 --train 4 --val 2) seeds=(0) photos=2 side=64
    short=('train_cfg.max_iters=2 train_cfg.val_interval=2 train_dataloader.batch_size=2'
        default_hooks.logger.interval=1)
    runs=(--runs 1 --warmup 0) size=64 batches=1,2 attention=(--size 64 --batch 1)
    shrink=(--segments 5 --cfg-options $TINY)
fi
export SHAPES_256=$OUT/shapes/

# sweep NAME CONFIG OPTION...: trainings and their evaluations in the folder NAME
sweep() {
    local options=("${@:3}" "${short[@]}")
    part "$1" "$PYTHON" tools/sweep.py "$2" --work-dir "$OUT/$1" --retry-failed --seeds "${seeds[@]}" "${flags[@]}" \
        ${options:+--options "${options[@]}"}
}

# checkpoint FOLDER: the last one of the first seed
checkpoint() { find "$OUT/$1" -path '*/seed0/last_checkpoint' -exec cat {} \; 2> /dev/null || true; }

part tests "$PYTHON" -m pytest -q "${tests[@]}"

# Three tasks from scratch on drawn pictures, in fp32, the second seed for the noise; then under each token.
part shapes "$PYTHON" tools/dataset_converters/make_shapes.py --out "$OUT/shapes" "${pictures[@]}"
sweep trained $config
trained=$(checkpoint trained)
part token-matrix "$PYTHON" tools/test.py $config "$trained" --token-matrix --work-dir "$OUT/token-matrix"
part equality-trained "$PYTHON" -m benchmarks.device_equality --device "$DEVICE" --model $config --weights "$trained" \
    --photos $photos --size $side --out "$OUT/equality-trained.json"

# Half precision: no NaN, and the curves of the losses beside those of fp32.
flags=(--amp)
sweep half $config optim_wrapper.dtype=float16 optim_wrapper.dtype=bfloat16
part half-finite bash -c "finite '$OUT/half'"
curves=("$OUT"/trained/*/*/seed* "$OUT"/half/*/*/seed*)
part curves "$PYTHON" tools/analysis_tools/analyze_logs.py plot_curve "${curves[@]}" --keys loss --smooth 9 \
    --out "$OUT/curves.png"

# Speed: batches, all forms of attention, CUDA graphs, and where the host waits.
for model in swin-t_8xb2-160k_ade20k-512x512 swin-l_8xb2-160k_ade20k-640x640; do
    measure infer-${model%%_*} infer --model oneformer_$model --size $size --over batch=$batches --dtype bf16 \
        --against transformers "${runs[@]}" "${shrink[@]}"
done
for dtype in fp32 bf16; do
    measure attention-$dtype attention "${attention[@]}" --dtype $dtype --against copy plain compiled "${runs[@]}"
    for peer in eager compiled; do
        part graphs-$dtype-$peer "$PYTHON" -m benchmarks.cuda_graphs --device "$DEVICE" --size $size --dtype $dtype \
            --against $peer --out "$OUT/graphs-$dtype-$peer.json" "${runs[@]}" ${TINY:+--cfg-options $TINY}
    done
done
for what in infer train; do measure waits-$what $what --syncs --size $size "${runs[@]}" "${shrink[@]}"; done

# The paper's ablations (Tables 4, 5 and 7) with the seeds of the whole model; a rehearsal only reads their options.
flags=(${TINY:+--dry-run})
sweep ablation-no-task-token $config model.head.use_task_token=False
sweep ablation-zero-query-init $config model.head.query_initializer.start=zeros
sweep ablation-no-text-context $config model.text_mapper.num_context=0
sweep ablation-no-contrastive $config 'model.criterion.auxiliary=[]'
sweep ablation-query-classification $config 'model.criterion.auxiliary=[dict(type=QueryClassification,weight=1.0)]'
flags=()
if [ "$DEVICE" = cpu ] || can 'from mmseg_oneformer.compat import compiled_ms_deform_attn as f; assert f()'; then
    sweep joint benchmarks/configs/mask2former_r50_shapes_256_joint.py
else
    record mmcv missing 0 'Mask2Former is not trained; build mmcv with its operators'
fi
exit $FAILED
