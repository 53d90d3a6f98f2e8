#!/bin/bash
# Submits the parts and, after them, what joins them: SOURCE=/archives OUT=/shared/shards docs/slurm/submit.sh 50
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${SOURCE:?the folder with the archives}" "${OUT:?the folder for the shards}"
export SOURCE OUT
array=$(sbatch --parsable --array="1-${1:-50}" "$here/shards.sbatch")
sbatch --dependency="afterok:${array%%;*}" "$here/finish.sbatch"
