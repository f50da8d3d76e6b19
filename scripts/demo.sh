#!/bin/sh
# From images to a measured int8 model. You can also run each line separately.
#   sh scripts/demo.sh runs/demo glyphs "--recipe recipes/glyphs-teacher.yaml" "--recipe recipes/glyphs-student.yaml"
# After an interruption, run it again: finished stages are kept, training resumes.
set -eu
out=$1 data=$2 teacher=$3 student=$4
alone=${5:---method multi_similarity} # options of the student without a teacher
began=$(date +%s)

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
    labels=no
    teacher="$teacher --epochs 0 --embedding-size 0"
    echo "== $data: no labels, so the teacher stays the network that it is given, and no student is trained alone"
fi

# shellcheck disable=SC2086  # the option strings are split into words on purpose
stage "$out/teacher" distill-train teacher --data "$data" $teacher --out "$out/teacher"
# shellcheck disable=SC2086
stage "$out/student" distill-train student --data "$data" --teacher "$out/teacher" $student --out "$out/student"
if [ "$labels" = yes ]; then
    # shellcheck disable=SC2086
    stage "$out/alone" distill-train student --data "$data" $student $alone --out "$out/alone"
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
