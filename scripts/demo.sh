#!/bin/sh
# From images to a measured int8 model. You can also run each line separately.
#   sh scripts/demo.sh runs/demo glyphs "--recipe recipes/glyphs-teacher.yaml" "--recipe recipes/glyphs-student.yaml"
# After an interruption, run it again: finished stages are kept, training resumes.
set -eu
out=$1 data=$2 teacher=$3 student=$4
alone=${5:-} # options of the student without a teacher
began=$(date +%s)
job='' # the process that trains it, while it trains beside the teacher
trap '[ -z "$job" ] || kill "$job" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
case "$teacher/$student" in
*glyphs-teacher*/*glyphs-student*)
    # These recipes train on one thread, so that the result does not depend on the number of cores: two fit side by side.
    together=yes
    alone=${alone:---recipe glyphs-alone} # the last --recipe counts
    ;;
*)
    together=''
    alone=${alone:---method multi_similarity}
    ;;
esac

stage() { # stage FOLDER COMMAND...: run the command unless its folder is finished
    folder=$1
    shift
    if [ -e "$folder/model.json" ]; then
        echo "== $folder is finished, kept (rm -r $folder to train it again)"
    else
        echo "== $*"
        "$@"
    fi
}

# Images without labels ask for another teacher, no student alone, and agreement with the teacher in place of Recall.
labels=yes
if python -c 'import sys; from distill.data.spec import open_data; sys.exit(open_data(sys.argv[1]).labelled)' "$data" 2>/dev/null; then
    labels=no together=''
    teacher="$teacher --epochs 0 --embedding-size 0"
    echo "== $data: no labels, so the teacher stays the network that it is given, and no student is trained alone"
fi

if [ "$together" ] && [ ! -e "$out/alone/model.json" ]; then
    mkdir -p "$out"
    echo "== beside the teacher: distill-train student --data $data $student $alone --out $out/alone (its output: $out/alone.log)"
    # shellcheck disable=SC2086  # the option strings are split into words on purpose
    distill-train student --data "$data" $student $alone --out "$out/alone" >"$out/alone.log" 2>&1 &
    job=$!
fi
# shellcheck disable=SC2086  # the option strings are split into words on purpose
stage "$out/teacher" distill-train teacher --data "$data" $teacher --out "$out/teacher"
# shellcheck disable=SC2086
stage "$out/student" distill-train student --data "$data" --teacher "$out/teacher" $student --out "$out/student"
if [ "$job" ]; then
    echo "== waiting for $out/alone"
    code=0
    wait "$job" || code=$?
    job=''
    if [ "$code" != 0 ]; then
        tail -n 6 "$out/alone.log" >&2
        exit "$code"
    fi
    tail -n 6 "$out/alone.log" # its table
elif [ "$labels" = yes ]; then
    # shellcheck disable=SC2086
    stage "$out/alone" distill-train student --data "$data" $student $alone --out "$out/alone"
fi
if [ "$labels" = yes ]; then
    set -- --reference "teacher=$out/teacher" --reference "student trained alone=$out/alone"
else
    taught=$out/student/teacher # the teacher as it taught, if it was reduced
    [ -e "$taught/model.json" ] || taught=$out/teacher
    set -- --reference "teacher=$taught"
fi

echo "== distill-export $out/student --target all --quantize none,int8 --repair auto --calibration-data $data --out $out/bundle --overwrite"
distill-export "$out/student" --target all --quantize none,int8 --repair auto --calibration-data "$data" --out "$out/bundle" --overwrite

echo "== distill-bench $out/bundle --device host --data $data --checkpoint $out/student ..."
distill-bench "$out/bundle" --device host --data "$data" --checkpoint "$out/student" \
    "$@" --json-out "$out/report.json" --html "$out/report.html"

echo "== distill-index $out/bundle $data --part test --out $out/test.gallery --overwrite"
distill-index "$out/bundle" "$data" --part test --out "$out/test.gallery" --overwrite
echo "== distill-index search $out/test.gallery --sample 12 -k 11 --html $out/neighbours.html"
distill-index search "$out/test.gallery" --sample 12 -k 11 --html "$out/neighbours.html"

echo "== done in $(($(date +%s) - began)) s"
echo "   the figures: $out/report.html"
echo "   what the int8 model finds: $out/neighbours.html"
