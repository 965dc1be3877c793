#!/bin/sh
# One run over a SLURM array: every task takes its share of the prompts, all write into one store on
# a file system that the nodes share. Start the same script again after anything: what is done stays.
#
#     sbatch docs/slurm-array.sh prompts.jsonl my-run
#
#SBATCH --job-name=circuit-tracer
#SBATCH --array=0-7
#SBATCH --cpus-per-task=4
#SBATCH --gpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@60
# TERM a minute before the time is up: what has been traced is written, the rest is left for later.

set -u
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
exec srun --ntasks=1 circuit-tracer batch "$1" --name "$2" --threads "${SLURM_CPUS_PER_TASK:-1}"
