#!/usr/bin/env bash
# A teacher for each of the four predictions, distilled to 2 evaluations and measured; the rows of the table in
# docs/experiments.md (What a network predicts). What is there is not done again.
#
#   bash experiments/prediction/run.sh FASHION_MNIST OUT [THREADS]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$1 out=$2 threads=${3:-2}
fewstep=${FEWSTEP:-fewstep}
statistics=$here/../../assets/fashion-mnist-statistics.safetensors
images=1000

# What a table of noise levels has to reach for levels from 0.01 to 80.
table='noise-table={ beta-start = 0.0001, beta-end = 0.025, levels = 1000 }'

tool() { "$fewstep" "$@" --threads "$threads"; }

# The figure behind NAME in what `evaluate` says.
figure() { sed -n "s/^$1  *\(rms \)\{0,1\}\([0-9.]*\).*/\2/p" "$2"; }

measure() { # FILE, ARGUMENTS
    local file=$1
    shift
    [ -s "$file" ] || { tool evaluate "$@" --images "$images" >"$file.part" && mv "$file.part" "$file"; }
}

echo "| prediction | teacher, 12 evaluations | teacher, 2 evaluations | student, 2 evaluations | paired, undistilled | paired, student |"
echo "| --- | --- | --- | --- | --- | --- |"
for prediction in edm noise v flow; do
    run=$out/$prediction
    more=()
    case $prediction in noise | v) more=(--set "$table") ;; esac
    mkdir -p "$run"
    teacher=$run/teacher/teacher.safetensors
    [ -s "$teacher" ] || tool train "$here/teacher.toml" --data "$data" --set "prediction=\"$prediction\"" \
        "${more[@]}" --out "$run/teacher" --resume
    student=$run/student/student.safetensors
    [ -s "$student" ] || tool distill "$here/student.toml" --teacher "$teacher" --out "$run/student" --resume
    # The teacher at the student's levels, without a call for the first step.
    few=(--solver euler --levels 80,6,1,0.01 --analytic-first-step true)
    measure "$run/teacher.txt" "$teacher" --reference "$statistics"
    measure "$run/few.txt" "$teacher" --reference "$statistics" --paired "$teacher" "${few[@]}"
    measure "$run/student.txt" "$student" --reference "$statistics" --paired "$teacher"
    echo "| \`$prediction\` | $(figure 'Frechet distance' "$run/teacher.txt") | $(figure 'Frechet distance' "$run/few.txt") |" \
        "$(figure 'Frechet distance' "$run/student.txt") | $(figure 'paired distance' "$run/few.txt") |" \
        "$(figure 'paired distance' "$run/student.txt") |"
done
