# Sourced by gpu.sh and gpu_long.sh: parts run one by one, each with a log, and a line in parts.jsonl on how it ended.
# They set OUT (a folder); gpu.sh also sets PART_SECONDS and ALL_SECONDS, after which a part is ended and none is begun.
PYTHON=${PYTHON:-python} DEVICE=${DEVICE:-cuda} TINY=${TINY:-}
FAILED=0
mkdir -p "$OUT"
# Kept with the results: what a part has compiled before its end, the next call need not compile again.
export TORCHINDUCTOR_CACHE_DIR=$OUT/compiled TRITON_CACHE_DIR=$OUT/compiled/triton
# tools/train.py takes a GPU if it sees one.
if [ "$DEVICE" = cpu ]; then export CUDA_VISIBLE_DEVICES=; fi

# record PART STATUS SECONDS NOTE
record() {
    local note
    note=$(tr -d '\000-\037"\\' <<< "$4")
    printf '{"part": "%s", "status": "%s", "seconds": %d, "note": "%s"}\n' "$1" "$2" "$3" "$note" >> "$OUT/parts.jsonl"
    printf '== %s: %s (%d s) %s\n' "$1" "$2" "$3" "$note"
}

# can CODE: whether Python code runs, to ask for packages and devices
can() { "$PYTHON" -c "$1" > /dev/null 2>&1; }

# part NAME COMMAND...: nothing if an earlier call finished it
part() {
    local name=$1 start=$SECONDS code=0 status=failed left limit=()
    shift
    if grep -qsF "{\"part\": \"$name\", \"status\": \"done\"" "$OUT/parts.jsonl"; then
        echo "== $name: done before"
        return
    fi
    if [ -n "${ALL_SECONDS:-}" ]; then
        left=$((ALL_SECONDS - SECONDS))
        if [ "$left" -lt 10 ]; then
            record "$name" 'not begun' 0 'the time is used up'
            return
        fi
        limit=(timeout --kill-after=2 $((left < PART_SECONDS ? left : PART_SECONDS)))
    fi
    "${limit[@]}" "$@" > "$OUT/$name.log" 2>&1 < /dev/null || code=$?
    cat "$OUT/$name.log"
    case $code in
        0) status=done ;;
        124 | 137) status=cut ;;
        *) FAILED=1 ;;
    esac
    record "$name" "$status" $((SECONDS - start)) "$([ "$status" != failed ] || tail -n 1 "$OUT/$name.log")"
}

# measure NAME ARGUMENTS...: a part of benchmark.py, whose rows go to NAME.json
measure() { part "$1" "$PYTHON" tools/analysis_tools/benchmark.py "${@:2}" --device "$DEVICE" --out "$OUT/$1.json"; }

# finite FOLDER: whether losses were logged there, and all are numbers
finite() {
    local losses
    losses=$(find "$1" -name scalars.json -exec grep -ohE '"[^"]*loss[^"]*": [^,}]+' {} +)
    [ -n "$losses" ] && ! grep -E 'NaN|Infinity' <<< "$losses"
}
export -f finite

if ! can "import torch; torch.empty(0, device='$DEVICE')"; then
    echo "error: $PYTHON cannot compute on $DEVICE; activate an environment with PyTorch, or set DEVICE=cpu without a GPU." >&2
    exit 2
fi
